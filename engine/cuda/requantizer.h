// Encodes blocks anew, smaller, where they stand (ops/requantize.h), to the bytes of the scalar
// definition.
//
// Layer by layer: tiles are decoded into scratch memory as floats, all of a layer before any is
// encoded. No tile grows, so what a layer writes ends before the next layer's source.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/cuda/device.h"
#include "engine/cuda/seal.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

class Requantizer {
 public:
  explicit Requantizer(Device* device) : device_(*device), scratch_(device) {}

  // Whether the device can encode every tile of the item.
  static bool Takes(const RequantizeItem& item);
  // For kBlocksAtOnce blocks. False: out of memory, noted in the device.
  bool ReserveScratch(int kv_heads, int head_dim);
  // All items are such that Takes.
  void Run(const RequantizeArgs& args);

 private:
  static constexpr size_t kBlocksAtOnce = 8;

  // The tiles of one layer, block and role.
  struct Tiles {
    kv::CodecId from;
    kv::CodecId to;
    kv::Role role;
    TileItem item;
    std::byte* floats = nullptr;  // of KV head 0, in scratch memory
  };
  struct Part {
    kv::CodecId codec;  // of the encoded side
    kv::Role role;
    TileItem item;
  };

  static size_t FloatBytes(int head_dim);
  void RunLayer(const RequantizeArgs& args, std::span<const RequantizeItem> items, int layer);
  void Collect(const RequantizeItem& item, int layer, kv::Role role);
  void Decode(const RequantizeArgs& args);
  void MoveUnchanged(int kv_heads);
  void Encode(const RequantizeArgs& args);
  void Launch(const RequantizeArgs& args, std::vector<Part>& parts,
              void (*launch)(const TileBatch&, LaunchQueue&));

  Device& device_;
  Scratch scratch_;
  std::vector<Tiles> tiles_;
  std::vector<kv::StaticRange> ranges_;
};

}  // namespace kvpareto::cuda
