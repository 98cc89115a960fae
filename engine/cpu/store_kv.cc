// Writes K and V of new tokens into open tiles.
#include "engine/base/check.h"
#include "engine/base/float16.h"
#include "engine/cpu/attention.h"
#include "engine/cpu/store_task.h"

namespace kvpareto::cpu {
namespace {

// Rows of one tile, from its first slot on.
template <typename Element, typename FromFloat>
void StoreElements(const StoreTask& task, FromFloat from_float) {
  Element* const tile = reinterpret_cast<Element*>(task.tile);
  for (int t = 0; t < task.tokens; ++t) {
    const float* row = task.source + static_cast<size_t>(t) * task.source_stride;
    for (int c = 0; c < task.head_dim; ++c) {
      tile[kv::ElementIndex(task.role, task.first_slot + t, c, task.tile_tokens, task.head_dim)] =
          from_float(row[c]);
    }
  }
}

void StoreTile(Isa isa, kv::CodecId codec, const StoreTask& task) {
  if (codec == kv::CodecId::kF32) {
    StoreElements<float>(task, [](float x) { return x; });
  } else if (isa != Isa::kScalar && task.head_dim % 16 == 0) {
    isa == Isa::kAvx2 ? StoreTileAvx2(task) : StoreTileAvx512(task);
  } else {
    StoreElements<uint16_t>(task, FloatToBf16);
  }
}

}  // namespace

void StoreKv(Isa isa, ThreadPool& pool, const StoreKvArgs& args) {
  const int per_item = 2 * args.kv_heads;
  const int items = static_cast<int>(args.items.size()) * per_item;
  const auto run = [&](int index, int) {
    const StoreKvItem& item = args.items[index / per_item];
    const KvSpan& to = item.destination;
    const int head = index % per_item / 2;
    const kv::Role role = index % 2 == 0 ? kv::Role::kKey : kv::Role::kValue;
    const bool key = role == kv::Role::kKey;
    const kv::LayerLayout& layout = *to.layout;
    const kv::CodecId codec = key ? layout.k_codec : layout.v_codec;
    KVP_CHECK(kv::GetCodecInfo(codec).can_be_open);
    KVP_CHECK(to.first_slot + to.num_tokens <= layout.tile_tokens);
    StoreTask task;
    task.role = role;
    task.source = reinterpret_cast<const float*>(args.qkv.data) +
                  static_cast<size_t>(item.first_row) * args.qkv.cols +
                  (key ? args.k_first_col : args.v_first_col) + head * args.head_dim;
    task.source_stride = args.qkv.cols;
    task.tile = to.data + (key ? layout.k_offset + head * layout.k_tile_bytes
                               : layout.v_offset + head * layout.v_tile_bytes);
    task.tile_tokens = layout.tile_tokens;
    task.first_slot = to.first_slot;
    task.tokens = to.num_tokens;
    task.head_dim = args.head_dim;
    StoreTile(isa, codec, task);
  };
  // A few decode rows cost less than waking the other threads.
  constexpr int kFewItems = 32;
  int tokens = 0;
  for (const StoreKvItem& item : args.items) tokens += item.destination.num_tokens;
  if (tokens * per_item <= kFewItems) {
    for (int i = 0; i < items; ++i) run(i, 0);
  } else {
    pool.For(items, run);
  }
}

}  // namespace kvpareto::cpu
