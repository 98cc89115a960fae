// Encodes full bf16 blocks by their configs' codecs.
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/float16.h"
#include "engine/cpu/attention.h"
#include "engine/cpu/attention_task.h"
#include "engine/cpu/store_task.h"

namespace kvpareto::cpu {
namespace {

void SealScalar(const SealTask& task) {
  alignas(64) float tile[kv::kBlockTokens * kMaxHeadDim];  // [kBlockTokens, head_dim]
  for (int t = 0; t < kv::kBlockTokens; ++t) {
    for (int c = 0; c < task.head_dim; ++c) {
      tile[t * task.head_dim + c] = Bf16ToFloat(
          task.source[kv::ElementIndex(task.role, t, c, kv::kBlockTokens, task.head_dim)]);
    }
  }
  kv::EncodeTile(task.codec, task.role, task.head_dim, task.range, tile, task.encoded);
}

void SealTile(Isa isa, const SealTask& task) {
  if (task.codec == kv::CodecId::kBf16) {
    std::memcpy(task.encoded, task.source, sizeof(uint16_t) * kv::kBlockTokens * task.head_dim);
    return;
  }
  if (isa != Isa::kScalar && SealTileAvx512(task)) return;
  SealScalar(task);
}

}  // namespace

void Seal(Isa isa, ThreadPool& pool, const SealArgs& args) {
  KVP_CHECK(args.head_dim <= kMaxHeadDim);
  const int per_item = 2 * args.kv_heads;
  pool.For(static_cast<int>(args.items.size()) * per_item, [&](int index, int) {
    const SealItem& item = args.items[index / per_item];
    const kv::LayerLayout& from = *item.source_layout;
    const kv::LayerLayout& to = *item.destination_layout;
    KVP_CHECK(from.k_codec == kv::CodecId::kBf16 && from.v_codec == kv::CodecId::kBf16);
    KVP_CHECK(from.tile_tokens == kv::kBlockTokens && to.tile_tokens == kv::kBlockTokens);
    const int head = index % per_item / 2;
    const bool key = index % 2 == 0;
    const std::span<const kv::StaticRange> ranges = key ? item.k_ranges : item.v_ranges;
    SealTask task;
    task.role = key ? kv::Role::kKey : kv::Role::kValue;
    task.codec = key ? to.k_codec : to.v_codec;
    if (!ranges.empty()) task.range = ranges[head];
    task.head_dim = args.head_dim;
    task.source = reinterpret_cast<const uint16_t*>(
        item.source + (key ? from.k_offset + head * from.k_tile_bytes
                           : from.v_offset + head * from.v_tile_bytes));
    task.encoded = item.destination + (key ? to.k_offset + head * to.k_tile_bytes
                                           : to.v_offset + head * to.v_tile_bytes);
    SealTile(isa, task);
  });
}

}  // namespace kvpareto::cpu
