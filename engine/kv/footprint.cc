#include "engine/kv/footprint.h"

#include <algorithm>

namespace kvpareto::kv {
namespace {

// The next length > `tokens` at which a decode step changes the residency: it opens a block
// (tokens = sink + 64 k + 1) or seals one (tokens = sink + recent + 64 k, k > 0).
int64_t NextChange(const FootprintParams& params, int64_t tokens) {
  const auto next = [tokens](int64_t origin) {
    if (tokens < origin) return origin;
    return tokens + kBlockTokens - (tokens - origin) % kBlockTokens;
  };
  int64_t change = next(int64_t{params.sink_tokens} + 1);
  if (params.seals) {
    change =
        std::min(change, next(int64_t{params.sink_tokens} + params.recent_tokens + kBlockTokens));
  }
  return tokens == 0 ? 1 : change;
}

}  // namespace

Residency ResidencyAt(const FootprintParams& params, int64_t tokens) {
  Residency residency;
  residency.sink_extents = tokens > 0 && params.sink_tokens > 0 ? 1 : 0;
  const int64_t body = std::max<int64_t>(0, tokens - params.sink_tokens);
  const int64_t blocks = (body + kBlockTokens - 1) / kBlockTokens;
  if (params.seals) {
    // Block b ends with token sink + 64 (b + 1) - 1, which must not be among the recent ones.
    const int64_t old = std::max<int64_t>(0, body - params.recent_tokens);
    residency.sealed_blocks = static_cast<int>(old / kBlockTokens);
  }
  residency.bf16_blocks = static_cast<int>(blocks - residency.sealed_blocks);
  return residency;
}

size_t ResidencyBytes(const FootprintParams& params, const Residency& residency) {
  return residency.sink_extents * params.sink_bytes +
         residency.sealed_blocks * params.sealed_block_bytes +
         residency.bf16_blocks * params.bf16_block_bytes;
}

size_t StepPeakBytes(const FootprintParams& params, int64_t before, int64_t after) {
  const Residency old_state = ResidencyAt(params, before);
  const Residency new_state = ResidencyAt(params, after);
  const int old_end = old_state.sealed_blocks + old_state.bf16_blocks;
  const int new_end = new_state.sealed_blocks + new_state.bf16_blocks;
  Residency added;
  added.sink_extents = new_state.sink_extents - old_state.sink_extents;
  added.sealed_blocks = new_state.sealed_blocks - old_state.sealed_blocks;
  added.bf16_blocks = std::max(0, new_end - std::max(old_end, new_state.sealed_blocks));
  return ResidencyBytes(params, old_state) + ResidencyBytes(params, added);
}

size_t PredictPeakBytes(const FootprintParams& params, int64_t prompt_tokens, int64_t total_tokens,
                        int chunk_tokens) {
  return PredictPeakBytesFrom(params, 0, prompt_tokens, total_tokens, chunk_tokens);
}

size_t PredictPeakBytesFrom(const FootprintParams& params, int64_t tokens, int64_t prompt_tokens,
                            int64_t total_tokens, int chunk_tokens) {
  size_t peak = ResidencyBytes(params, ResidencyAt(params, tokens));
  while (tokens < prompt_tokens) {
    const int64_t next = std::min<int64_t>(prompt_tokens, tokens + std::max(1, chunk_tokens));
    peak = std::max(peak, StepPeakBytes(params, tokens, next));
    tokens = next;
  }
  // Between changes a decode step allocates nothing.
  for (tokens = NextChange(params, tokens); tokens <= total_tokens;
       tokens = NextChange(params, tokens)) {
    peak = std::max(peak, StepPeakBytes(params, tokens - 1, tokens));
  }
  return peak;
}

int FinalBlocks(const FootprintParams& params, int64_t tokens) {
  if (params.seals) return ResidencyAt(params, tokens).sealed_blocks;
  return static_cast<int>(std::max<int64_t>(0, tokens - params.sink_tokens) / kBlockTokens);
}

size_t FinalBytes(const FootprintParams& params, int64_t tokens) {
  const size_t block_bytes = params.seals ? params.sealed_block_bytes : params.bf16_block_bytes;
  return (tokens >= params.sink_tokens ? params.sink_bytes : 0) +
         FinalBlocks(params, tokens) * block_bytes;
}

size_t OwnPeakBytesFrom(const FootprintParams& params, int64_t tokens, int64_t prompt_tokens,
                        int64_t total_tokens, int chunk_tokens) {
  return PredictPeakBytesFrom(params, tokens, prompt_tokens, total_tokens, chunk_tokens) -
         FinalBytes(params, tokens);
}

}  // namespace kvpareto::kv
