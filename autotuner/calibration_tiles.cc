#include "autotuner/calibration_tiles.h"

#include <algorithm>

namespace kvpareto::tune {

TileSample::TileSample(const ModelConfig& model, std::span<const int64_t> piece_tokens,
                       int max_tiles)
    : model_(model) {
  std::vector<Tile> all;
  for (size_t piece = 0; piece < piece_tokens.size(); ++piece) {
    for (int64_t first = KvConfig().sink_tokens; first + kv::kBlockTokens <= piece_tokens[piece];
         first += kv::kBlockTokens) {
      all.push_back({.piece = static_cast<int>(piece), .first = first});
    }
  }
  const size_t count = std::min<size_t>(max_tiles, all.size());
  const size_t layer_size = size_t{kv::kBlockTokens} * model.kv_heads * model.head_dim;
  for (size_t i = 0; i < count; ++i) {
    Tile tile = all[(2 * i + 1) * all.size() / (2 * count)];
    tile.k.resize(model.layers * layer_size);
    tile.v.resize(model.layers * layer_size);
    tiles_.push_back(std::move(tile));
  }
}

void TileSample::Add(int piece, const LayerObservation& seen) {
  const size_t cols = static_cast<size_t>(model_.kv_heads) * model_.head_dim;
  for (Tile& tile : tiles_) {
    if (tile.piece != piece) continue;
    const int64_t begin = std::max(tile.first, seen.first_position);
    const int64_t end = std::min(tile.first + kv::kBlockTokens, seen.first_position + seen.rows);
    for (int64_t p = begin; p < end; ++p) {
      const size_t from = (p - seen.first_position) * cols;
      const size_t to = (size_t(seen.layer) * kv::kBlockTokens + (p - tile.first)) * cols;
      std::copy_n(seen.k.data() + from, cols, tile.k.data() + to);
      std::copy_n(seen.v.data() + from, cols, tile.v.data() + to);
    }
  }
}

ConstRows TileSample::Part(const std::vector<float>& rows, int layer, int kv_head) const {
  const size_t layer_size = size_t{kv::kBlockTokens} * model_.kv_heads * model_.head_dim;
  return HeadRows({rows.data() + layer * layer_size, layer_size}, model_.kv_heads, model_.head_dim,
                  kv_head);
}

RowMatrix TileSample::Keys(int tile, int layer, int kv_head) const {
  return Part(tiles_[tile].k, layer, kv_head);
}

RowMatrix TileSample::Values(int tile, int layer, int kv_head) const {
  return Part(tiles_[tile].v, layer, kv_head);
}

}  // namespace kvpareto::tune
