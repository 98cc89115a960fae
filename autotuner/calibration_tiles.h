// A bounded sample of whole tiles, kept from the second pass for the search of clip ratios.
#pragma once

#include <span>
#include <vector>

#include "autotuner/roped_bias.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// The keys and values of kBlockTokens consecutive tokens that a sequence with the default sink
// would seal together.
class TileSample {
 public:
  // Picks up to `max_tiles` tiles, evenly spread over pieces of these lengths.
  TileSample(const ModelConfig& model, std::span<const int64_t> piece_tokens, int max_tiles);

  void Add(int piece, const LayerObservation& seen);

  int size() const { return static_cast<int>(tiles_.size()); }
  int64_t first_position(int tile) const { return tiles_[tile].first; }
  // [kBlockTokens, head_dim], as observed.
  RowMatrix Keys(int tile, int layer, int kv_head) const;
  RowMatrix Values(int tile, int layer, int kv_head) const;

 private:
  struct Tile {
    int piece = 0;
    int64_t first = 0;        // position in the piece
    std::vector<float> k, v;  // [layers, kBlockTokens, kv_heads * head_dim]
  };
  ConstRows Part(const std::vector<float>& rows, int layer, int kv_head) const;

  const ModelConfig& model_;
  std::vector<Tile> tiles_;
};

}  // namespace kvpareto::tune
