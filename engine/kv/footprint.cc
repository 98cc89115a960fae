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
  size_t peak = 0;
  for (int64_t done = 0; done < prompt_tokens;) {
    const int64_t next = std::min<int64_t>(prompt_tokens, done + std::max(1, chunk_tokens));
    peak = std::max(peak, StepPeakBytes(params, done, next));
    done = next;
  }
  // Between changes a decode step allocates nothing.
  for (int64_t tokens = NextChange(params, prompt_tokens); tokens <= total_tokens;
       tokens = NextChange(params, tokens)) {
    peak = std::max(peak, StepPeakBytes(params, tokens - 1, tokens));
  }
  return peak;
}

}  // namespace kvpareto::kv
