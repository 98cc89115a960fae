#include "engine/self_test.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/kv/codec.h"
#include "engine/kv/tile.h"

namespace kvpareto {
namespace {

constexpr int kChunkTokens = kv::kBlockTokens;
constexpr int kSealedTokens = 2 * kChunkTokens;  // hold a sealed block behind any sink
constexpr int kPrefillTokens = 4;                // that read it as a chunk
constexpr int kDecodedTokens = 4;                // that read it one by one
constexpr int kTokens = kSealedTokens + kPrefillTokens + kDecodedTokens;
constexpr int kFewestBits = 4;  // below, what is lost and what is broken look the same

using Logits = std::vector<float>;  // [kPrefillTokens + kDecodedTokens, vocab]

std::vector<int32_t> SomeTokens(int vocab) {
  std::vector<int32_t> tokens(kTokens);
  uint32_t state = 1;
  for (int32_t& token : tokens) {
    state = state * 1664525u + 1013904223u;  // Numerical Recipes' generator
    token = static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab));
  }
  return tokens;
}

absl::StatusOr<Logits> LogitsOf(std::span<const int32_t> tokens, KvConfig config,
                                const ScoreFn& score) {
  config.sink_tokens = std::min(config.sink_tokens, kChunkTokens);
  config.recent_tokens = 0;
  config.prefill_chunk_tokens = kChunkTokens;
  const ScoreOptions options{.decode_from = kSealedTokens + kPrefillTokens,
                             .logits_from = kSealedTokens};
  Logits all;
  KVP_RETURN_IF_ERROR(score(tokens, config, options, [&](int64_t, std::span<const float> logits) {
    all.insert(all.end(), logits.begin(), logits.end());
  }));
  return all;
}

double Distance(const Logits& logits, const Logits& exact) {
  double mean = 0.0;
  for (const float x : exact) mean += x / static_cast<double>(exact.size());
  double difference = 0.0, spread = 0.0;
  for (size_t i = 0; i < exact.size(); ++i) {
    difference += std::pow(double{logits[i]} - exact[i], 2);
    spread += std::pow(exact[i] - mean, 2);
  }
  return std::sqrt(difference / spread);
}

bool IsCoarse(const KvConfig& config, int layers) {
  const auto coarse = [](kv::CodecId codec) { return kv::GetCodecInfo(codec).bits < kFewestBits; };
  const std::vector<kv::LayerCodecs> codecs = config.PerLayer(layers);
  return std::any_of(codecs.begin(), codecs.end(),
                     [&](const kv::LayerCodecs& c) { return coarse(c.k) || coarse(c.v); });
}

// Why a row is refused; empty: it is not.
std::string Verdict(const absl::StatusOr<Logits>& logits, const absl::StatusOr<Logits>& exact,
                    bool coarse) {
  if (!exact.ok()) return absl::StrCat("the bf16 cache failed: ", exact.status().message());
  if (!logits.ok()) return std::string(logits.status().message());
  const double distance = Distance(*logits, *exact);
  if (distance <= kMaxSelfTestDistance || (coarse && std::isfinite(distance))) return "";
  return absl::StrCat("its logits are ", distance, " from those of the bf16 cache, allowed are ",
                      kMaxSelfTestDistance);
}

}  // namespace

std::vector<RefusedRow> SelfTest(const ParetoTable& table, const ModelConfig& model,
                                 const ScoreFn& score) {
  if (model.context_tokens < kTokens) return {};
  const std::vector<int32_t> tokens = SomeTokens(model.vocab);
  const absl::StatusOr<Logits> exact = LogitsOf(tokens, KvConfig::Bf16(kChunkTokens), score);
  std::vector<RefusedRow> refused;
  for (const ParetoRow& row : table.rows) {
    std::string why =
        Verdict(LogitsOf(tokens, row.config, score), exact, IsCoarse(row.config, model.layers));
    if (!why.empty()) refused.push_back({row.name, std::move(why)});
  }
  return refused;
}

}  // namespace kvpareto
