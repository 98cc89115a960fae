// The fuzz targets: each takes any bytes and returns, whatever they are. It aborts where a promise
// is broken that sanitizers cannot see. Every one is a file of its own, NAME_fuzz.cc, and has seeds
// in corpus/NAME and, once it has found something, inputs in regressions/NAME.
#pragma once

#include <string_view>

namespace kvpareto::fuzz {

// Files of models.
void Gguf(std::string_view input);         // opened, tokenized with, read to the last tensor
void HfDirectory(std::string_view input);  // the same; plain and AWQ safetensors
void Safetensors(std::string_view input);
void HfTokenizer(std::string_view input);  // tokenizer.json, then a text
void Calibration(std::string_view input);

// Text of clients, and what templates make of it.
void Tokenize(std::string_view input);      // both kinds of tokenizer and every pre-tokenizer
void ChatTemplate(std::string_view input);  // a template, then messages

// Files of operators.
void ParetoTable(std::string_view input);
void Slo(std::string_view input);
void KvConfig(std::string_view input);  // also what requests pin
void ServerConfig(std::string_view input);
void Identities(std::string_view input);
void TuneSpec(std::string_view input);
void Journal(std::string_view input);
void Trace(std::string_view input);

// Requests, to the engine's native type.
void GenerateRequest(std::string_view input);
void InferRequest(std::string_view input);
void OpenAiRequest(std::string_view input);

struct Target {
  std::string_view name;
  void (*run)(std::string_view input);
};
inline constexpr Target kTargets[] = {
    {"gguf", Gguf},
    {"hf_directory", HfDirectory},
    {"safetensors", Safetensors},
    {"hf_tokenizer", HfTokenizer},
    {"calibration", Calibration},
    {"tokenize", Tokenize},
    {"chat_template", ChatTemplate},
    {"pareto_table", ParetoTable},
    {"slo", Slo},
    {"kv_config", KvConfig},
    {"server_config", ServerConfig},
    {"identities", Identities},
    {"tune_spec", TuneSpec},
    {"journal", Journal},
    {"trace", Trace},
    {"generate_request", GenerateRequest},
    {"infer_request", InferRequest},
    {"openai_request", OpenAiRequest},
};

}  // namespace kvpareto::fuzz
