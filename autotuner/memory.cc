#include "autotuner/memory.h"

#include <algorithm>

namespace kvpareto::tune {

MemoryCost CostOf(const KvConfig& config, const ModelConfig& model) {
  const kv::FootprintParams footprint = Footprint(config, model);
  MemoryCost cost;
  cost.bytes_per_token =
      static_cast<double>(footprint.sealed_block_bytes) / static_cast<double>(kv::kBlockTokens);
  // Beyond the windows the bf16 part repeats with every block: its largest value over one period.
  const int64_t start = footprint.sink_tokens + footprint.recent_tokens + kv::kBlockTokens;
  for (int64_t tokens = start; tokens < start + kv::kBlockTokens; ++tokens) {
    kv::Residency residency = kv::ResidencyAt(footprint, tokens);
    residency.sealed_blocks = 0;
    if (!footprint.seals) residency.bf16_blocks = 1;  // the others are what bytes_per_token counts
    cost.fixed_bytes =
        std::max<uint64_t>(cost.fixed_bytes, kv::ResidencyBytes(footprint, residency));
  }
  return cost;
}

}  // namespace kvpareto::tune
