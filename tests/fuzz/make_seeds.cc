// Writes the seeds that are binary or made by rule. usage: fuzz_seeds CORPUS_FOLDER
#include <filesystem>
#include <iostream>

#include "engine/model/calibration.h"
#include "inference/open_inference.pb.h"
#include "kvpareto/v1/inference.pb.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::fuzz {
namespace {

using support::ReadBytes;
using support::TinyModel;

constexpr std::string_view kSeparator = "=====\n";

class Corpus {
 public:
  explicit Corpus(std::string folder) : folder_(std::move(folder)) {}

  void Add(const std::string& target, const std::string& name, const std::string& bytes) const {
    const std::filesystem::path path = std::filesystem::path(folder_) / target / name;
    std::filesystem::create_directories(path.parent_path());
    support::WriteBytes(path, bytes);
  }

 private:
  std::string folder_;
};

// A few tokens instead of a whole alphabet: seeds that are short are mutated to more effect.
TinyModel ShortModel(Architecture architecture, TensorType type, bool sentencepiece) {
  TinyModel model = support::MakeTinyModel({.architecture = architecture,
                                            .layers = 1,
                                            .hidden = 32,
                                            .heads = 2,
                                            .kv_heads = 1,
                                            .head_dim = 16,
                                            .ffn = 32,
                                            .type = type,
                                            .sentencepiece = sentencepiece});
  TokenizerSpec& tokenizer = model.tokenizer;
  if (sentencepiece) return model;  // needs all its bytes
  tokenizer.tokens = {
      "<|endoftext|>", "<|im_start|>", "<|im_end|>", "H", "e", "l", "o", "ll", "lo"};
  tokenizer.kinds.resize(tokenizer.tokens.size());
  tokenizer.merges = {{"l", "l"}, {"l", "o"}};
  return model;
}

void AddModels(const Corpus& corpus) {
  const support::TempDir dir;
  const std::string gguf = dir.File("m.gguf");
  const auto add_gguf = [&](const std::string& name, const TinyModel& model) {
    support::WriteGguf(model, gguf);
    corpus.Add("gguf", name, ReadBytes(gguf));
  };
  add_gguf("llama-q8_0", ShortModel(Architecture::kLlama, TensorType::kQ8_0, false));
  add_gguf("qwen2-q4_1", ShortModel(Architecture::kQwen2, TensorType::kQ4_1, false));
  add_gguf("qwen3-q5_0", ShortModel(Architecture::kQwen3, TensorType::kQ5_0, false));
  add_gguf("sentencepiece", ShortModel(Architecture::kLlama, TensorType::kQ4_0, true));
  const auto add_directory = [&](const std::string& name, const TinyModel& model,
                                 const support::HfWriteOptions& options) {
    const std::string path = dir.File(name);
    support::WriteHfDirectory(model, path, options);
    const std::string tokenizer = ReadBytes(path + "/tokenizer.json");
    const std::string weights = ReadBytes(path + "/model.safetensors");
    std::string all = ReadBytes(path + "/config.json");
    all.append("\n").append(kSeparator).append(tokenizer).append("\n").append(kSeparator);
    corpus.Add("hf_directory", name, all + weights);
    corpus.Add("hf_tokenizer", name,
               tokenizer + "\n" + std::string(kSeparator) +
                   ReadBytes(path + "/tokenizer_config.json") + "\n" + std::string(kSeparator) +
                   "Hello <|im_end|>\xC3\xA9");
  };
  add_directory("bf16", ShortModel(Architecture::kQwen3, TensorType::kF32, false),
                {.type = TensorType::kBf16});
  add_directory("awq", ShortModel(Architecture::kQwen2, TensorType::kF32, false),
                {.awq_group_cols = 32});
}

void AddContainers(const Corpus& corpus) {
  const std::vector<std::byte> data(16);
  corpus.Add("safetensors", "two-tensors",
             support::SafetensorsFile({{"a.weight", "F32", {2, 2}, data},
                                       {"b", "BF16", {8}, data},
                                       {"c", "I32", {1, 4}, data}}));
  Calibration calibration{.fingerprint = "0123456789abcdef", .text = "novel", .tensors = {}};
  calibration.tensors["key_mean"] = {{2, 1, 16}, std::vector<float>(32, 0.5f)};
  calibration.tensors["k_range.plain"] = {{2, 1, 2}, {-1.0f, 1.0f, -2.0f, 2.0f}};
  calibration.tensors["v_clip.plain.int4-token"] = {{2, 1}, {0.9f, 0.8f}};
  const support::TempDir dir;
  const std::string path = dir.File("calibration.safetensors");
  if (SaveCalibration(calibration, path).ok()) corpus.Add("calibration", "small", ReadBytes(path));
}

void AddTexts(const Corpus& corpus) {
  const std::string text = "Don't say 1234.5 \t\n <|im_end|>na\xC3\xAFve e\xCC\x81 \xE4\xBD\xA0";
  for (char tokenizer = 0; tokenizer < 5; ++tokenizer) {
    corpus.Add("tokenize", "mixed-" + std::to_string(tokenizer), std::string(1, tokenizer) + text);
  }
}

void AddRequests(const Corpus& corpus) {
  kvpareto::v1::GenerateRequest generate;
  generate.set_request_id("id-1");
  auto* message = generate.mutable_prompt()->mutable_messages()->add_messages();
  message->set_role("user");
  message->set_content("Hello");
  generate.mutable_sampling()->set_temperature(0.7f);
  (*generate.mutable_sampling()->mutable_logit_bias())[7] = 1.5f;
  generate.mutable_stopping()->set_max_tokens(16);
  generate.mutable_stopping()->add_stop_strings("\n\n");
  generate.mutable_kv()->set_accuracy_target(0.97);
  generate.mutable_kv()->set_memory_budget_bytes(1 << 20);
  generate.mutable_response()->set_top_logprobs(2);
  generate.set_service_class("gold");
  generate.mutable_prefix_cache()->set_salt("tenant");
  corpus.Add("generate_request", "chat", generate.SerializeAsString());
  generate.mutable_prompt()->mutable_token_ids()->add_ids(5);
  corpus.Add("generate_request", "token-ids", generate.SerializeAsString());

  inference::ModelInferRequest infer;
  infer.set_id("7");
  auto* prompt = infer.add_inputs();
  prompt->set_name("text_input");
  prompt->set_datatype("BYTES");
  prompt->add_shape(1);
  prompt->mutable_contents()->add_bytes_contents("Hello");
  auto* options = infer.add_inputs();
  options->set_name("sampling_parameters");
  options->set_datatype("BYTES");
  options->add_shape(1);
  options->mutable_contents()->add_bytes_contents(R"({"temperature": "0.5", "max_tokens": 9})");
  (*infer.mutable_parameters())["kv_accuracy_target"].set_double_param(0.9);
  infer.add_outputs()->set_name("text_output");
  corpus.Add("infer_request", "contents", infer.SerializeAsString());
  infer.clear_inputs();
  prompt = infer.add_inputs();
  prompt->set_name("text_input");
  prompt->set_datatype("BYTES");
  prompt->add_shape(1);
  infer.add_raw_input_contents(std::string("\x05\0\0\0Hello", 9));
  corpus.Add("infer_request", "raw", infer.SerializeAsString());
}

}  // namespace
}  // namespace kvpareto::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fuzz_seeds CORPUS_FOLDER\n";
    return 2;
  }
  const kvpareto::fuzz::Corpus corpus(argv[1]);
  AddModels(corpus);
  AddContainers(corpus);
  AddTexts(corpus);
  AddRequests(corpus);
}
