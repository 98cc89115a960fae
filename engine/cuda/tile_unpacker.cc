#include <algorithm>

#include "engine/base/check.h"
#include "engine/cuda/attention.h"
#include "engine/cuda/unseal.h"

namespace kvpareto::cuda {
namespace {

bool IsOpen(kv::CodecId codec) { return codec == kv::CodecId::kBf16 || codec == kv::CodecId::kF32; }

}  // namespace

void TileUnpacker::Begin(const AttentionArgs& args) {
  kv_heads_ = args.kv_heads;
  head_dim_ = args.head_dim;
  bytes_ = 0;
  tiles_.clear();
  patches_.clear();
  ranges_.clear();
}

int TileUnpacker::AddRanges(std::span<const kv::StaticRange> ranges) {
  if (ranges.empty()) return -1;
  const int first = static_cast<int>(ranges_.size());
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  return first;
}

// Returns the offset of KV head 0's open tile.
size_t TileUnpacker::AddTile(const KvSpan& span, kv::Role role, int first_range) {
  const kv::LayerLayout& layout = *span.layout;
  const bool key = role == kv::Role::kKey;
  const size_t open_bytes = kv::TileBytes(open_codec_, role, head_dim_);
  const size_t offset = bytes_;
  bytes_ += open_bytes * kv_heads_;
  KVP_CHECK(layout.tile_tokens == kv::kBlockTokens);
  tiles_.push_back({.codec = key ? layout.k_codec : layout.v_codec,
                    .role = role,
                    .item = {.from = span.data + (key ? layout.k_offset : layout.v_offset),
                             .to = reinterpret_cast<std::byte*>(offset),
                             .from_stride = static_cast<uint32_t>(key ? layout.k_tile_bytes
                                                                      : layout.v_tile_bytes),
                             .to_stride = static_cast<uint32_t>(open_bytes),
                             .first_range = first_range}});
  return offset;
}

void TileUnpacker::Add(const AttentionSequence& sequence, std::vector<OpenPiece>& pieces) {
  const int k_range = AddRanges(sequence.k_ranges), v_range = AddRanges(sequence.v_ranges);
  for (const KvSpan& span : sequence.spans) {
    const kv::LayerLayout& layout = *span.layout;
    OpenPiece piece{.k = span.data + layout.k_offset,
                    .v = span.data + layout.v_offset,
                    .k_stride = static_cast<uint32_t>(layout.k_tile_bytes),
                    .v_stride = static_cast<uint32_t>(layout.v_tile_bytes),
                    .wide_k = layout.k_codec == kv::CodecId::kF32,
                    .wide_v = layout.v_codec == kv::CodecId::kF32,
                    .tile_tokens = layout.tile_tokens,
                    .first_slot = span.first_slot,
                    .num_tokens = span.num_tokens,
                    .position = span.first_position};
    const bool wide = open_codec_ == kv::CodecId::kF32;
    if (!IsOpen(layout.k_codec)) {
      const size_t offset = AddTile(span, kv::Role::kKey, k_range);
      patches_.push_back({pieces.size(), kv::Role::kKey, offset});
      piece.k_stride = tiles_.back().item.to_stride;
      piece.wide_k = wide;
    }
    if (!IsOpen(layout.v_codec)) {
      const size_t offset = AddTile(span, kv::Role::kValue, v_range);
      patches_.push_back({pieces.size(), kv::Role::kValue, offset});
      piece.v_stride = tiles_.back().item.to_stride;
      piece.wide_v = wide;
    }
    pieces.push_back(piece);
  }
}

bool TileUnpacker::ReserveScratch(const ScratchLimits& limits) {
  const size_t tiles = (limits.context_tokens + kv::kBlockTokens - 1) / kv::kBlockTokens;
  const size_t both = kv::TileBytes(open_codec_, kv::Role::kKey, limits.head_dim) +
                      kv::TileBytes(open_codec_, kv::Role::kValue, limits.head_dim);
  return scratch_.Reserve(tiles * limits.kv_heads * both) != nullptr;
}

bool TileUnpacker::Run(std::vector<OpenPiece>& pieces) {
  if (tiles_.empty()) return true;
  std::byte* const scratch = scratch_.Reserve(bytes_);
  if (scratch == nullptr) return false;
  for (const Patch& patch : patches_) {
    (patch.role == kv::Role::kKey ? pieces[patch.piece].k : pieces[patch.piece].v) =
        scratch + patch.offset;
  }
  // One launch per codec and role, of at most so many tiles that the table fits the upload ring.
  constexpr size_t kMaxItems = 1 << 15;
  std::stable_sort(tiles_.begin(), tiles_.end(), [](const Tile& a, const Tile& b) {
    return std::pair(a.codec, a.role) < std::pair(b.codec, b.role);
  });
  const kv::StaticRange* ranges = device_.Upload(std::span<const kv::StaticRange>(ranges_));
  std::vector<TileItem> items;
  for (size_t first = 0; first < tiles_.size();) {
    items.clear();
    const Tile& like = tiles_[first];
    while (first < tiles_.size() && items.size() < kMaxItems && tiles_[first].codec == like.codec &&
           tiles_[first].role == like.role) {
      TileItem item = tiles_[first++].item;
      item.to = scratch + reinterpret_cast<size_t>(item.to);
      items.push_back(item);
    }
    LaunchUnseal({.codec = like.codec,
                  .open_codec = open_codec_,
                  .role = like.role,
                  .kv_heads = kv_heads_,
                  .head_dim = head_dim_,
                  .num_items = static_cast<int>(items.size()),
                  .items = device_.Upload(std::span<const TileItem>(items)),
                  .ranges = ranges},
                 device_.queue());
  }
  return true;
}

}  // namespace kvpareto::cuda
