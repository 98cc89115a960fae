// engine_logits MODEL TOKENS_FILE KV_CONFIG DECODE_FROM OUT: the engine's teacher-forced logits,
// for comparison with the oracle (reference.py). TOKENS_FILE holds ids separated by white space;
// OUT gets [tokens, vocab] float32. DECODE_FROM: first position that is decoded token by token; -1:
// prefill only. The instruction set is chosen by the environment variable KVPARETO_CPU_ISA.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto {
namespace {

absl::StatusOr<std::vector<int32_t>> ReadTokens(const std::string& path) {
  std::ifstream in(path);
  std::vector<int32_t> tokens{std::istream_iterator<int32_t>(in), {}};
  if (!in.eof() || tokens.empty()) {
    return absl::InvalidArgumentError(path + ": not a list of token ids");
  }
  return tokens;
}

absl::Status Run(const char* const* args) {
  KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, ReadTokens(args[2]));
  KVP_ASSIGN_OR_RETURN(const KvConfig config, KvConfig::Parse(args[3]));

  EngineOptions options;
  options.model_path = args[1];
  options.max_step_tokens = std::max(options.max_step_tokens, config.prefill_chunk_tokens);
  options.kv_capacity_bytes = uint64_t{256} << 20;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));

  std::ofstream out(args[5], std::ios::binary);
  int64_t expected = 0;
  bool in_order = true;
  const int64_t vocab = engine->model().config.vocab;
  KVP_RETURN_IF_ERROR(engine->Score(tokens, config, {.decode_from = std::atoll(args[4])},
                                    [&](int64_t first_position, std::span<const float> logits) {
                                      in_order &= first_position == expected;
                                      expected += static_cast<int64_t>(logits.size()) / vocab;
                                      out.write(reinterpret_cast<const char*>(logits.data()),
                                                static_cast<std::streamsize>(logits.size_bytes()));
                                    }));
  if (!in_order || expected != static_cast<int64_t>(tokens.size())) {
    return absl::InternalError("logits of " + std::to_string(expected) + " positions for " +
                               std::to_string(tokens.size()) + " tokens, or out of order");
  }
  out.close();
  return out ? absl::OkStatus() : absl::InternalError(std::string("cannot write ") + args[5]);
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: engine_logits MODEL TOKENS_FILE KV_CONFIG DECODE_FROM OUT\n";
    return 2;
  }
  const absl::Status status = kvpareto::Run(argv);
  if (!status.ok()) std::cerr << "engine_logits: " << status.ToString() << "\n";
  return status.ok() ? 0 : 1;
}
