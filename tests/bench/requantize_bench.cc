// requantize_bench MODEL TEXT_FILE PROMPT_TOKENS DECODE_TOKENS WINDOWS FROM TO: what re-encoding
// the cache of a running sequence, from one KV config to a smaller one, does to its predictions.
// Each window of the text is teacher-forced: the prompt in chunks, the rest as decoded tokens, the
// change in between. Prints one line of JSON, mean KL divergences in nats:
//
//   changed   of the run that changes from the run that does not
//   bound     of the run under the smaller config from its start from a bf16 cache, as in a table
//   once      of the run that changes from bf16 to the smaller config from a bf16 cache: as
//             `changed`, but for the first rounding
//
// and of changed / bound and changed / once the 95% intervals: a bootstrap that draws runs of 64
// neighbouring positions.
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autotuner/fidelity.h"
#include "autotuner/paired.h"
#include "engine/engine.h"

namespace kvpareto {
namespace {

constexpr int kRun = 64;  // neighbouring positions that are not independent

struct Window {
  std::vector<int32_t> tokens;
  int64_t prompt_tokens = 0;
};

// KL divergences by run of positions, those of all windows one after the other.
struct Divergences {
  std::vector<double> changed, bound, once;
};

class Bench {
 public:
  Bench(Engine* engine, const KvConfig& from, const KvConfig& to)
      : engine_(engine), from_(from), to_(to) {}

  absl::Status Measure(const Window& window) {
    KvConfig bf16 = KvConfig::Bf16(to_.prefill_chunk_tokens);
    bf16.sink_tokens = to_.sink_tokens;  // or it could not change
    KVP_ASSIGN_OR_RETURN(const LogProbs reference, Run(window, bf16, nullptr));
    KVP_ASSIGN_OR_RETURN(const LogProbs smaller, Run(window, to_, nullptr));
    Append(reference, smaller, divergences_.bound);
    KVP_ASSIGN_OR_RETURN(const LogProbs once, Run(window, bf16, &to_));
    Append(reference, once, divergences_.once);
    KVP_ASSIGN_OR_RETURN(const LogProbs unchanged, Run(window, from_, nullptr));
    KVP_ASSIGN_OR_RETURN(const LogProbs changed, Run(window, from_, &to_));
    Append(unchanged, changed, divergences_.changed);
    return absl::OkStatus();
  }

  const Divergences& divergences() const { return divergences_; }

 private:
  using LogProbs = std::vector<float>;  // [decoded tokens, vocab]

  absl::StatusOr<LogProbs> Run(const Window& window, const KvConfig& config,
                               const KvConfig* later) const {
    ScoreOptions options{.decode_from = window.prompt_tokens, .logits_from = window.prompt_tokens};
    if (later != nullptr) {
      options.requantize_at = window.prompt_tokens;
      options.requantize_to = *later;
    }
    LogProbs all;
    KVP_RETURN_IF_ERROR(
        engine_->Score(window.tokens, config, options, [&](int64_t, std::span<const float> logits) {
          const size_t begin = all.size();
          all.insert(all.end(), logits.begin(), logits.end());
          for (size_t at = begin; at < all.size(); at += Vocab()) {
            tune::LogSoftmax(std::span(all).subspan(at, Vocab()));
          }
        }));
    return all;
  }

  void Append(const LogProbs& reference, const LogProbs& candidate,
              std::vector<double>& runs) const {
    double sum = 0.0;
    int positions = 0;
    for (size_t at = 0; at < reference.size(); at += Vocab()) {
      const auto row = [&](const LogProbs& all) { return std::span(all).subspan(at, Vocab()); };
      sum += tune::ComparePosition(row(reference), row(candidate), 0).kl;
      if (++positions < kRun) continue;
      runs.push_back(sum / kRun);
      sum = 0.0;
      positions = 0;
    }
  }

  size_t Vocab() const { return engine_->model().config.vocab; }

  Engine* const engine_;
  const KvConfig from_, to_;
  Divergences divergences_;
};

// Of the ratio of two means.
std::string Ratio(const std::vector<double>& candidate, const std::vector<double>& reference) {
  const tune::PairedScores scores{.candidate = candidate, .reference = reference};
  const tune::Interval loss = tune::ComparePaired(std::span(&scores, 1)).relative.value();
  return absl::StrCat("[", 1.0 + loss.low, ", ", 1.0 + loss.high, "]");
}

std::string Report(const Divergences& d) {
  const auto mean = [](const std::vector<double>& runs) {
    double sum = 0.0;
    for (const double run : runs) sum += run;
    return sum / static_cast<double>(runs.size());
  };
  return absl::StrCat("{\"positions\": ", d.changed.size() * kRun,
                      ", \"changed\": ", mean(d.changed), ", \"bound\": ", mean(d.bound),
                      ", \"once\": ", mean(d.once),
                      ", \"changed_to_bound\": ", Ratio(d.changed, d.bound),
                      ", \"changed_to_once\": ", Ratio(d.changed, d.once), "}");
}

absl::StatusOr<std::vector<Window>> Windows(const Engine& engine, char** argv) {
  std::ifstream file(argv[2]);
  std::stringstream content;
  content << file.rdbuf();
  KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> all, engine.Tokenize(Prompt(content.str())));
  const int64_t prompt = std::atoi(argv[3]), decoded = std::atoi(argv[4]);
  const int64_t windows = std::atoi(argv[5]), tokens = prompt + decoded;
  if (prompt < 1 || decoded < kRun || windows < 1 ||
      windows * tokens > static_cast<int64_t>(all.size())) {
    return absl::InvalidArgumentError("fewer than 64 decoded tokens, or the text is too short");
  }
  std::vector<Window> made;
  for (int64_t i = 0; i < windows; ++i) {
    const auto begin = all.begin() + i * (static_cast<int64_t>(all.size()) / windows);
    made.push_back({.tokens = {begin, begin + tokens}, .prompt_tokens = prompt});
  }
  return made;
}

absl::Status Main(int argc, char** argv) {
  if (argc != 8) {
    return absl::InvalidArgumentError(
        "usage: requantize_bench MODEL TEXT_FILE PROMPT_TOKENS DECODE_TOKENS WINDOWS FROM TO");
  }
  EngineOptions options;
  options.model_path = argv[1];
  options.kv_capacity_bytes = uint64_t{4} << 30;
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  KVP_ASSIGN_OR_RETURN(const std::vector<Window> windows, Windows(*engine, argv));
  KVP_ASSIGN_OR_RETURN(const KvConfig from, KvConfig::Parse(argv[6]));
  KVP_ASSIGN_OR_RETURN(const KvConfig to, KvConfig::Parse(argv[7]));
  Bench bench(engine.get(), from, to);
  for (const Window& window : windows) KVP_RETURN_IF_ERROR(bench.Measure(window));
  std::cout << Report(bench.divergences()) << std::endl;
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
