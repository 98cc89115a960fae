// requantize_bench MODEL TEXT_FILE PROMPT_TOKENS DECODE_TOKENS FROM TO: what re-encoding the cache
// of a running sequence, from one KV config to a smaller one, does to its predictions. The text is
// teacher-forced: the prompt in chunks, the rest as decoded tokens. Prints mean KL divergences in
// nats as one line of JSON: of the run that changes from the run that does not ("changed"), and of
// the run under the smaller config from the start from a bf16 cache ("bound").
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"

namespace kvpareto {
namespace {

struct Text {
  std::vector<int32_t> tokens;
  int64_t prompt_tokens = 0;
};

// Log-probabilities [decoded tokens, vocab].
absl::StatusOr<std::vector<float>> Run(Engine* engine, const Text& text, const KvConfig& config,
                                       const KvConfig* later) {
  ScoreOptions options{.decode_from = text.prompt_tokens, .logits_from = text.prompt_tokens};
  if (later != nullptr) {
    options.requantize_at = text.prompt_tokens;
    options.requantize_to = *later;
  }
  const size_t vocab = engine->model().config.vocab;
  std::vector<float> all;
  KVP_RETURN_IF_ERROR(
      engine->Score(text.tokens, config, options, [&](int64_t, std::span<const float> logits) {
        for (size_t row = 0; row < logits.size(); row += vocab) {
          double sum = 0;
          for (size_t i = row; i < row + vocab; ++i) sum += std::exp(double{logits[i]});
          const auto log_sum = static_cast<float>(std::log(sum));
          for (size_t i = row; i < row + vocab; ++i) all.push_back(logits[i] - log_sum);
        }
      }));
  return all;
}

// Mean KL(p || q) a token.
double Divergence(const std::vector<float>& p, const std::vector<float>& q, size_t rows) {
  double total = 0;
  for (size_t i = 0; i < p.size(); ++i) total += std::exp(double{p[i]}) * (double{p[i]} - q[i]);
  return total / static_cast<double>(rows);
}

absl::Status Main(int argc, char** argv) {
  if (argc != 7) {
    return absl::InvalidArgumentError(
        "usage: requantize_bench MODEL TEXT_FILE PROMPT_TOKENS DECODE_TOKENS FROM TO");
  }
  EngineOptions options;
  options.model_path = argv[1];
  options.kv_capacity_bytes = uint64_t{4} << 30;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  std::ifstream file(argv[2]);
  std::stringstream content;
  content << file.rdbuf();
  Text text{.prompt_tokens = std::atoi(argv[3])};
  KVP_ASSIGN_OR_RETURN(text.tokens, engine->Tokenize(Prompt(content.str())));
  const size_t decoded = std::atoi(argv[4]);
  if (text.prompt_tokens < 1 || decoded < 1 || text.tokens.size() < text.prompt_tokens + decoded) {
    return absl::InvalidArgumentError("the text is too short");
  }
  text.tokens.resize(text.prompt_tokens + decoded);
  KVP_ASSIGN_OR_RETURN(const KvConfig from, KvConfig::Parse(argv[5]));
  KVP_ASSIGN_OR_RETURN(const KvConfig to, KvConfig::Parse(argv[6]));
  KvConfig bf16 = KvConfig::Bf16(to.prefill_chunk_tokens);

  KVP_ASSIGN_OR_RETURN(const std::vector<float> unchanged, Run(engine.get(), text, from, nullptr));
  KVP_ASSIGN_OR_RETURN(const std::vector<float> changed, Run(engine.get(), text, from, &to));
  KVP_ASSIGN_OR_RETURN(const std::vector<float> reference, Run(engine.get(), text, bf16, nullptr));
  KVP_ASSIGN_OR_RETURN(const std::vector<float> smaller, Run(engine.get(), text, to, nullptr));
  std::cout << absl::StrCat("{\"changed\": ", Divergence(unchanged, changed, decoded),
                            ", \"bound\": ", Divergence(reference, smaller, decoded), "}")
            << std::endl;
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  const absl::Status status = kvpareto::Main(argc, argv);
  if (status.ok()) return 0;
  std::cerr << status << std::endl;
  return 1;
}
