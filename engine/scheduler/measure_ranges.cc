#include "engine/scheduler/measure_ranges.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "engine/base/float16.h"
#include "engine/kv/tile.h"

namespace kvpareto {
namespace {

// A bf16 tile on the host.
struct HostTile {
  kv::Role role;
  int tile_tokens;
  int head_dim;
  std::vector<uint16_t> elements;
};

void Widen(const HostTile& tile, int num_tokens, kv::StaticRange& range) {
  for (int token = 0; token < num_tokens; ++token) {
    for (int channel = 0; channel < tile.head_dim; ++channel) {
      const float value = Bf16ToFloat(tile.elements[kv::ElementIndex(
          tile.role, token, channel, tile.tile_tokens, tile.head_dim)]);
      range.min = std::min(range.min, value);
      range.max = std::max(range.max, value);
    }
  }
}

}  // namespace

void WidenRanges(const SequenceCache& cache, const ModelConfig& model, Backend& backend,
                 Calibration& calibration) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (calibration.k.empty()) {
    const std::vector<kv::StaticRange> heads(model.kv_heads, {.min = kInfinity, .max = -kInfinity});
    calibration.k.assign(model.layers, heads);
    calibration.v.assign(model.layers, heads);
  }
  for (const BlockSpan& span : cache.Spans()) {
    for (int layer = 0; layer < model.layers; ++layer) {
      const kv::LayerLayout& layout = span.ForLayer(layer);
      for (int head = 0; head < model.kv_heads; ++head) {
        HostTile tile{.role = kv::Role::kKey,
                      .tile_tokens = layout.tile_tokens,
                      .head_dim = model.head_dim,
                      .elements = std::vector<uint16_t>(layout.tile_tokens * model.head_dim)};
        const size_t bytes = tile.elements.size() * sizeof(uint16_t);
        backend.CopyToHost(tile.elements.data(),
                           span.data + layout.k_offset + head * layout.k_tile_bytes, bytes);
        Widen(tile, span.num_tokens, calibration.k[layer][head]);
        tile.role = kv::Role::kValue;
        backend.CopyToHost(tile.elements.data(),
                           span.data + layout.v_offset + head * layout.v_tile_bytes, bytes);
        Widen(tile, span.num_tokens, calibration.v[layer][head]);
      }
    }
  }
}

}  // namespace kvpareto
