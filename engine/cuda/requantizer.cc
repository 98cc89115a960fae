#include "engine/cuda/requantizer.h"

#include <algorithm>
#include <utility>

#include "engine/cuda/by_kind.h"
#include "engine/cuda/unseal.h"

namespace kvpareto::cuda {

bool Requantizer::Takes(const RequantizeItem& item) {
  for (int i = 0; i < item.to->num_layers(); ++i) {
    const kv::LayerLayout& layer = item.to->layer(i);
    if (!CanSeal(layer.k_codec) || !CanSeal(layer.v_codec)) return false;
  }
  return true;
}

size_t Requantizer::FloatBytes(int head_dim) { return sizeof(float) * kv::kBlockTokens * head_dim; }

bool Requantizer::ReserveScratch(int kv_heads, int head_dim) {
  return scratch_.Reserve(kBlocksAtOnce * 2 * kv_heads * FloatBytes(head_dim)) != nullptr;
}

void Requantizer::Run(const RequantizeArgs& args) {
  if (!ReserveScratch(args.kv_heads, args.head_dim)) return;
  for (size_t first = 0; first < args.items.size(); first += kBlocksAtOnce) {
    const auto items =
        args.items.subspan(first, std::min(kBlocksAtOnce, args.items.size() - first));
    int layers = 0;
    for (const RequantizeItem& item : items) layers = std::max(layers, item.from->num_layers());
    for (int layer = 0; layer < layers; ++layer) RunLayer(args, items, layer);
  }
}

void Requantizer::RunLayer(const RequantizeArgs& args, std::span<const RequantizeItem> items,
                           int layer) {
  device_.BeginOperation();
  tiles_.clear();
  ranges_.clear();
  for (const RequantizeItem& item : items) {
    for (const kv::Role role : {kv::Role::kKey, kv::Role::kValue}) Collect(item, layer, role);
  }
  std::byte* floats = scratch_.Reserve(0);
  for (Tiles& tiles : tiles_) {
    tiles.floats = floats;
    floats += args.kv_heads * FloatBytes(args.head_dim);
  }
  Decode(args);
  MoveUnchanged(args.kv_heads);
  Encode(args);
}

void Requantizer::Collect(const RequantizeItem& item, int layer, kv::Role role) {
  const kv::LayerLayout& from = item.from->layer(layer);
  const kv::LayerLayout& to = item.to->layer(layer);
  const bool key = role == kv::Role::kKey;
  const std::span<const kv::StaticRange> all = key ? item.k_ranges : item.v_ranges;
  const size_t heads = all.size() / item.to->num_layers();
  const auto ranges = all.subspan(layer * heads, heads);
  tiles_.push_back(
      {.from = key ? from.k_codec : from.v_codec,
       .to = key ? to.k_codec : to.v_codec,
       .role = role,
       .item = {.from = item.data + (key ? from.k_offset : from.v_offset),
                .to = item.data + (key ? to.k_offset : to.v_offset),
                .from_stride = static_cast<uint32_t>(key ? from.k_tile_bytes : from.v_tile_bytes),
                .to_stride = static_cast<uint32_t>(key ? to.k_tile_bytes : to.v_tile_bytes),
                .first_range = ranges.empty() ? -1 : static_cast<int>(ranges_.size())}});
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
}

// Tiles whose codec changes, into scratch memory.
void Requantizer::Decode(const RequantizeArgs& args) {
  std::vector<Part> parts;
  for (const Tiles& tiles : tiles_) {
    if (tiles.from == tiles.to) continue;
    TileItem item = tiles.item;
    item.to = tiles.floats;
    item.to_stride = static_cast<uint32_t>(FloatBytes(args.head_dim));
    item.first_range = -1;  // codecs that need one do not get here
    parts.push_back({tiles.from, tiles.role, item});
  }
  Launch(args, parts, LaunchUnseal);
}

// Keys before values, as collected: what keys leave is where values may go.
void Requantizer::MoveUnchanged(int kv_heads) {
  for (const Tiles& tiles : tiles_) {
    if (tiles.from != tiles.to || tiles.item.to == tiles.item.from) continue;
    device_.Move(tiles.item.to, tiles.item.from, size_t{tiles.item.to_stride} * kv_heads);
  }
}

void Requantizer::Encode(const RequantizeArgs& args) {
  std::vector<Part> parts;
  for (const Tiles& tiles : tiles_) {
    if (tiles.from == tiles.to) continue;
    TileItem item = tiles.item;
    item.from = tiles.floats;
    item.from_stride = static_cast<uint32_t>(FloatBytes(args.head_dim));
    parts.push_back({tiles.to, tiles.role, item});
  }
  Launch(args, parts, LaunchSeal);
}

void Requantizer::Launch(const RequantizeArgs& args, std::vector<Part>& parts,
                         void (*launch)(const TileBatch&, LaunchQueue&)) {
  const kv::StaticRange* ranges = device_.Upload(std::span<const kv::StaticRange>(ranges_));
  ForEachKind(
      parts, [](const Part& part) { return std::pair(part.codec, part.role); },
      [&](const Part& like, const std::vector<TileItem>& items) {
        launch({.codec = like.codec,
                .open_codec = kv::CodecId::kF32,
                .role = like.role,
                .kv_heads = args.kv_heads,
                .head_dim = args.head_dim,
                .num_items = static_cast<int>(items.size()),
                .items = device_.Upload(std::span<const TileItem>(items)),
                .ranges = ranges},
               device_.queue());
      });
}

}  // namespace kvpareto::cuda
