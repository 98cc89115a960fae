// Encoding sealed blocks anew, smaller, where they stand.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "engine/kv/block_layout.h"
#include "engine/kv/codec.h"

namespace kvpareto {

// A block of all layers. No tile of `to` is larger than the same tile of `from`, so tiles may be
// encoded in their order without a second block: none is written over one that is still to be read.
struct RequantizeItem {
  std::byte* data = nullptr;              // device
  const kv::BlockLayout* from = nullptr;  // host memory, valid until the op has run, as the rest
  const kv::BlockLayout* to = nullptr;
  // Of the codecs of `to`: [layers, kv_heads]; empty: defaults.
  std::span<const kv::StaticRange> k_ranges;
  std::span<const kv::StaticRange> v_ranges;
};

// Whether blocks of `from` may become blocks of `to` in place: no tile grows, some shrink, and
// neither holds codecs that take their range from elsewhere.
bool CanRequantize(const kv::BlockLayout& from, const kv::BlockLayout& to);

// One tile of a block.
struct RequantizeTile {
  kv::CodecId from = kv::CodecId::kBf16;
  kv::CodecId to = kv::CodecId::kBf16;
  kv::Role role = kv::Role::kKey;
  int head_dim = 0;
  kv::StaticRange range;
  const std::byte* source = nullptr;
  std::byte* destination = nullptr;  // at or before source; may overlap it
};

// Calls `encode` for every tile of the block at `data`, in the order in which they may be encoded.
void ForEachTile(const RequantizeItem& item, std::byte* data, int kv_heads, int head_dim,
                 const std::function<void(const RequantizeTile&)>& encode);

// The definition: kv::DecodeTile, then kv::EncodeTile.
void RequantizeTileScalar(const RequantizeTile& tile);

}  // namespace kvpareto
