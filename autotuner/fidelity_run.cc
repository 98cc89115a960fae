#include "autotuner/fidelity_run.h"

#include <algorithm>
#include <memory>
#include <set>
#include <span>

#include "autotuner/parallel.h"
#include "autotuner/progress.h"

namespace kvpareto::tune {
namespace {

constexpr size_t kValuesPerPosition = 4;  // of a journal record

std::vector<double> Flatten(const std::vector<PositionFidelity>& positions) {
  std::vector<double> values;
  for (const PositionFidelity& p : positions) {
    values.insert(values.end(), {p.kl, p.same_top ? 1.0 : 0.0, p.reference_nll, p.candidate_nll});
  }
  return values;
}

std::vector<PositionFidelity> Unflatten(const std::vector<double>& values) {
  std::vector<PositionFidelity> positions;
  for (size_t i = 0; i + kValuesPerPosition <= values.size(); i += kValuesPerPosition) {
    positions.push_back({.kl = values[i],
                         .same_top = values[i + 1] != 0.0,
                         .reference_nll = values[i + 2],
                         .candidate_nll = values[i + 3]});
  }
  return positions;
}

class Run {
 public:
  Run(Engine& engine, const std::vector<TokenizedText>& texts, const FidelityOptions& options)
      : engine_(engine), texts_(texts), options_(options), references_(texts.size()) {}

  std::string Key(const MeasuredConfig& measured, size_t text) const {
    const bool calibrated =
        measured.config.needs_calibration() || options_.reference.needs_calibration();
    return KeyOf({engine_.model().fingerprint,
                  engine_.model().backend + (options_.prefill_arithmetic ? " prefill" : ""),
                  TokensDigest(texts_[text].tokens), options_.reference.ToString(),
                  std::to_string(options_.first), std::to_string(options_.stride),
                  calibrated ? options_.calibration_digest : "", measured.Identity()});
  }

  // The reference's log-probabilities of the counted positions of a text, [counted, vocab].
  absl::Status MakeReference(size_t text) {
    references_[text].resize(Counted(text) * Vocab());
    return ForCounted(text, {.name = "reference", .config = options_.reference},
                      [&](size_t index, std::span<const float> row) {
                        std::copy(row.begin(), row.end(),
                                  references_[text].begin() + index * Vocab());
                      });
  }
  bool has_reference(size_t text) const { return !references_[text].empty(); }

  absl::StatusOr<std::vector<PositionFidelity>> Compare(size_t text,
                                                        const MeasuredConfig& measured) {
    std::vector<PositionFidelity> positions(Counted(text));
    KVP_RETURN_IF_ERROR(ForCounted(text, measured, [&](size_t index, std::span<const float> row) {
      const std::span<const float> expected(references_[text].data() + index * Vocab(), Vocab());
      positions[index] = ComparePosition(expected, row, NextToken(text, index));
    }));
    return positions;
  }

  // The last token has no successor.
  size_t Counted(size_t text) const {
    const int64_t eligible = std::ssize(texts_[text].tokens) - 1 - options_.first;
    return eligible <= 0 ? 0 : (eligible + options_.stride - 1) / options_.stride;
  }

 private:
  size_t Vocab() const { return engine_.model().config.vocab; }
  int32_t NextToken(size_t text, size_t index) const {
    return texts_[text].tokens[options_.first + index * options_.stride + 1];
  }

  // Calls fn(index, log-probabilities) for every counted position, from several threads.
  template <typename Fn>
  absl::Status ForCounted(size_t text, const MeasuredConfig& measured, Fn&& fn) {
    const auto on_logits = [&](int64_t first_position, std::span<const float> logits) {
      const size_t first = (first_position - options_.first) / options_.stride;
      ParallelFor(static_cast<int>(logits.size() / Vocab()), 0, [&](int r) {
        if (first + r >= Counted(text)) return;
        const auto source = logits.subspan(r * Vocab(), Vocab());
        std::vector<float> row(source.begin(), source.end());
        LogSoftmax(row);
        fn(first + r, std::span<const float>(row));
      });
    };
    return engine_.Score(texts_[text].tokens, measured.config,
                         {.decode_from = measured.encode_on_write ? -1 : 0,
                          .logits_from = options_.first,
                          .logits_stride = options_.stride,
                          .encode_on_write = measured.encode_on_write,
                          .prefill_arithmetic = options_.prefill_arithmetic},
                         on_logits);
  }

  Engine& engine_;
  const std::vector<TokenizedText>& texts_;
  const FidelityOptions& options_;
  std::vector<std::vector<float>> references_;  // [text]; empty until needed
};

}  // namespace

double MeanKl(const ConfigFidelity& config) {
  double sum = 0.0;
  int64_t count = 0;
  for (const TextFidelity& text : config.texts) {
    for (const PositionFidelity& position : text.positions) sum += position.kl;
    count += std::ssize(text.positions);
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count);
}

absl::StatusOr<std::vector<ConfigFidelity>> MeasureFidelity(
    Engine& engine, const std::vector<TokenizedText>& texts,
    const std::vector<MeasuredConfig>& configs, const FidelityOptions& options, Journal& journal) {
  Run run(engine, texts, options);
  int64_t missing = 0;
  std::set<std::string> keys;  // configs may be the same under several names
  std::vector<bool> used(texts.size(), false);
  for (size_t t = 0; t < texts.size(); ++t) {
    if (run.Counted(t) == 0) {
      return MakeError(absl::StatusCode::kInvalidArgument, "NOTHING_COUNTED",
                       texts[t].name + " has no position from " + std::to_string(options.first) +
                           " on with a successor",
                       {{"text", texts[t].name}});
    }
    for (const MeasuredConfig& measured : configs) {
      const std::string key = run.Key(measured, t);
      if (journal.Find(key) != nullptr || !keys.insert(key).second) continue;
      missing += std::ssize(texts[t].tokens);
      used[t] = true;
    }
    if (used[t]) missing += std::ssize(texts[t].tokens);
  }
  Progress progress("tokens", missing);
  std::vector<ConfigFidelity> results;
  for (const MeasuredConfig& measured : configs) {
    ConfigFidelity result{.measured = measured, .texts = {}};
    for (size_t t = 0; t < texts.size(); ++t) {
      const std::string key = run.Key(measured, t);
      if (const std::vector<double>* known = journal.Find(key)) {
        result.texts.push_back({texts[t].name, Unflatten(*known)});
        continue;
      }
      if (!run.has_reference(t)) {
        KVP_RETURN_IF_ERROR(run.MakeReference(t));
        progress.Advance(std::ssize(texts[t].tokens), "reference, " + texts[t].name);
      }
      KVP_ASSIGN_OR_RETURN(std::vector<PositionFidelity> positions, run.Compare(t, measured));
      progress.Advance(std::ssize(texts[t].tokens), measured.name + ", " + texts[t].name);
      KVP_RETURN_IF_ERROR(journal.Append(key, Flatten(positions)));
      result.texts.push_back({texts[t].name, std::move(positions)});
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace kvpareto::tune
