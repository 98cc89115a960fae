// Encodes full open blocks by their configs' codecs.
#include <cstring>

#include "engine/base/check.h"
#include "engine/cpu/attention.h"
#include "engine/cpu/attention_task.h"
#include "engine/cpu/store_task.h"

namespace kvpareto::cpu {
namespace {

void SealScalar(const SealTask& task) {
  alignas(64) float tile[kv::kBlockTokens * kMaxHeadDim];  // [kBlockTokens, head_dim]
  kv::DecodeTile(task.source_codec, task.role, task.head_dim, {}, task.source, tile);
  kv::EncodeTile(task.codec, task.role, task.head_dim, task.range, tile, task.encoded);
}

void SealTile(Isa isa, const SealTask& task) {
  if (task.codec == task.source_codec) {
    std::memcpy(task.encoded, task.source, kv::TileBytes(task.codec, task.role, task.head_dim));
    return;
  }
  if (isa == Isa::kAvx2 && SealTileAvx2(task)) return;
  if (isa >= Isa::kAvx512 && SealTileAvx512(task)) return;
  SealScalar(task);
}

// Sealing's fast kernels read bf16 tiles; a destination may overlap its source.
void EncodeAnew(Isa isa, const RequantizeTile& tile) {
  if (tile.from != kv::CodecId::kBf16 || tile.to == kv::CodecId::kBf16) {
    RequantizeTileScalar(tile);
    return;
  }
  alignas(64) std::byte source[size_t{2} * kv::kBlockTokens * kMaxHeadDim];
  std::memcpy(source, tile.source, kv::TileBytes(tile.from, tile.role, tile.head_dim));
  SealTask task;
  task.role = tile.role;
  task.codec = tile.to;
  task.range = tile.range;
  task.head_dim = tile.head_dim;
  task.source_codec = tile.from;
  task.source = source;
  task.encoded = tile.destination;
  SealTile(isa, task);
}

}  // namespace

void Requantize(Isa isa, ThreadPool& pool, const RequantizeArgs& args) {
  KVP_CHECK(args.head_dim <= kMaxHeadDim);
  // A block's tiles have an order; blocks have none.
  pool.For(static_cast<int>(args.items.size()), [&](int index, int) {
    const RequantizeItem& item = args.items[index];
    ForEachTile(item, item.data, args.kv_heads, args.head_dim,
                [&](const RequantizeTile& tile) { EncodeAnew(isa, tile); });
  });
}

void Seal(Isa isa, ThreadPool& pool, const SealArgs& args) {
  KVP_CHECK(args.head_dim <= kMaxHeadDim);
  const int per_item = 2 * args.kv_heads;
  pool.For(static_cast<int>(args.items.size()) * per_item, [&](int index, int) {
    const SealItem& item = args.items[index / per_item];
    const kv::LayerLayout& from = *item.source_layout;
    const kv::LayerLayout& to = *item.destination_layout;
    KVP_CHECK(from.tile_tokens == kv::kBlockTokens && to.tile_tokens == kv::kBlockTokens);
    const int head = index % per_item / 2;
    const bool key = index % 2 == 0;
    const std::span<const kv::StaticRange> ranges = key ? item.k_ranges : item.v_ranges;
    SealTask task;
    task.role = key ? kv::Role::kKey : kv::Role::kValue;
    task.codec = key ? to.k_codec : to.v_codec;
    task.source_codec = key ? from.k_codec : from.v_codec;
    KVP_CHECK(kv::GetCodecInfo(task.source_codec).can_be_open);
    if (!ranges.empty()) task.range = ranges[head];
    task.head_dim = args.head_dim;
    task.source = item.source + (key ? from.k_offset + head * from.k_tile_bytes
                                     : from.v_offset + head * from.v_tile_bytes);
    task.encoded = item.destination + (key ? to.k_offset + head * to.k_tile_bytes
                                           : to.v_offset + head * to.v_tile_bytes);
    SealTile(isa, task);
  });
}

}  // namespace kvpareto::cpu
