// Seals the blocks of a step (ops/backend.h: Seal).
#pragma once

#include <vector>

#include "engine/cuda/device.h"
#include "engine/cuda/seal.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

class Sealer {
 public:
  explicit Sealer(Device* device) : device_(*device) {}
  void Run(const SealArgs& args);

 private:
  struct Tile {
    kv::CodecId open_codec;
    kv::CodecId codec;
    kv::Role role;
    TileItem item;
  };
  void AddTile(const SealItem& item, kv::Role role);
  // For codecs that only the host can encode.
  void SealOnHost(const Tile& like, const TileItem& item, int kv_heads, int head_dim);

  Device& device_;
  std::vector<Tile> tiles_;
  std::vector<kv::StaticRange> ranges_;
};

}  // namespace kvpareto::cuda
