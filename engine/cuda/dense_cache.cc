#include "engine/cuda/dense_cache.h"

#include <algorithm>
#include <utility>

#include "engine/cuda/by_kind.h"

namespace kvpareto::cuda {

bool DenseCache::Takes(const AttentionSequence& sequence) {
  if (sequence.spans.empty()) return false;
  int next = sequence.spans[0].first_position;
  for (const KvSpan& span : sequence.spans) {
    if (span.first_position != next || span.layout->k_codec == kv::CodecId::kF32 ||
        span.layout->v_codec == kv::CodecId::kF32) {
      return false;
    }
    next += span.num_tokens;
  }
  return true;
}

bool DenseCache::ReserveScratch(const ScratchLimits& limits) {
  const size_t tiles = (limits.context_tokens + kDenseTokens - 1) / kDenseTokens;
  return scratch_.Reserve(2 * tiles * limits.kv_heads * DenseTileBytes(limits.head_dim)) != nullptr;
}

DenseView DenseCache::Make(const AttentionArgs& args, const AttentionSequence& sequence) {
  const KvSpan& last = sequence.spans.back();
  const int end = last.first_position + last.num_tokens;
  DenseView view{.first_key = sequence.spans[0].first_position};
  const int oldest =
      args.sliding_window > 0 ? sequence.first_position - args.sliding_window + 1 : 0;
  view.position = std::max(view.first_key, oldest) / kDenseTokens * kDenseTokens;
  const int tiles = (end - view.position + kDenseTokens - 1) / kDenseTokens;
  view.head_stride = size_t(tiles) * DenseTileBytes(args.head_dim);
  const size_t role_bytes = view.head_stride * args.kv_heads;
  view.k = scratch_.Reserve(2 * role_bytes);
  if (view.k == nullptr) return view;
  view.v = view.k + role_bytes;

  parts_.clear();
  ranges_.clear();
  const int k_range = AddRanges(sequence.k_ranges), v_range = AddRanges(sequence.v_ranges);
  for (const KvSpan& span : sequence.spans) AddSpan(span, view.position, k_range, v_range);
  AddZeros(0, view.first_key - view.position);
  AddZeros(end - view.position, tiles * kDenseTokens);
  Launch(args, view);
  return view;
}

int DenseCache::AddRanges(std::span<const kv::StaticRange> ranges) {
  if (ranges.empty()) return -1;
  const int first = static_cast<int>(ranges_.size());
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  return first;
}

// What the span has from `first_position` on.
void DenseCache::AddSpan(const KvSpan& span, int first_position, int k_range, int v_range) {
  const kv::LayerLayout& layout = *span.layout;
  const int skipped = std::max(0, first_position - span.first_position);
  for (int done = skipped; done < span.num_tokens; done += kv::kBlockTokens) {
    DenseItem item{.from = span.data + layout.k_offset,
                   .from_stride = static_cast<uint32_t>(layout.k_tile_bytes),
                   .tile_tokens = layout.tile_tokens,
                   .first_slot = span.first_slot + done,
                   .num_tokens = std::min(kv::kBlockTokens, span.num_tokens - done),
                   .row = span.first_position + done - first_position,
                   .first_range = k_range};
    parts_.push_back({layout.k_codec, kv::Role::kKey, item});
    item.from = span.data + layout.v_offset;
    item.from_stride = static_cast<uint32_t>(layout.v_tile_bytes);
    item.first_range = v_range;
    parts_.push_back({layout.v_codec, kv::Role::kValue, item});
  }
}

void DenseCache::AddZeros(int begin_row, int end_row) {
  for (int row = begin_row; row < end_row; row += kv::kBlockTokens) {
    const DenseItem item{.num_tokens = std::min(kv::kBlockTokens, end_row - row), .row = row};
    parts_.push_back({kv::CodecId::kBf16, kv::Role::kKey, item});
    parts_.push_back({kv::CodecId::kBf16, kv::Role::kValue, item});
  }
}

// One launch per codec and role.
void DenseCache::Launch(const AttentionArgs& args, const DenseView& view) {
  const kv::StaticRange* ranges = device_.Upload(std::span<const kv::StaticRange>(ranges_));
  ForEachKind(
      parts_, [](const Part& part) { return std::pair(part.codec, part.role); },
      [&](const Part& like, const std::vector<DenseItem>& items) {
        const std::byte* to = like.role == kv::Role::kKey ? view.k : view.v;
        LaunchMakeDense(args.head_dim,
                        {.codec = like.codec,
                         .role = like.role,
                         .kv_heads = args.kv_heads,
                         .num_items = static_cast<int>(items.size()),
                         .items = device_.Upload(std::span<const DenseItem>(items)),
                         .ranges = ranges,
                         .to = const_cast<std::byte*>(to),
                         .to_stride = view.head_stride},
                        device_.queue());
      });
}

}  // namespace kvpareto::cuda
