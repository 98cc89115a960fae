#include "engine/cuda/decode_planner.h"

#include <algorithm>

#include "engine/base/check.h"

namespace kvpareto::cuda {
namespace {

using kv::CodecId;
using kv::kBlockTokens;

// A part has at least this many tiles, four for each warp: shorter ones would spend their time on
// merging. Long sequences are cut into about kTargetParts. How a sequence is cut depends on nothing
// but its length, and so does the result.
constexpr int kMinPartTiles = 16;
constexpr int kTargetParts = 32;

bool IsOpen(const kv::LayerLayout& layout) {
  return layout.k_codec == CodecId::kBf16 && layout.v_codec == CodecId::kBf16;
}

TilePlaces PlacesOf(const kv::LayerLayout& layout) {
  return {.k_offset = static_cast<uint32_t>(layout.k_offset),
          .v_offset = static_cast<uint32_t>(layout.v_offset),
          .k_stride = static_cast<uint32_t>(layout.k_tile_bytes),
          .v_stride = static_cast<uint32_t>(layout.v_tile_bytes)};
}

bool IsWholeTile(const KvSpan& span) {
  return span.first_slot == 0 && span.num_tokens == kBlockTokens;
}

int OldestPosition(const AttentionArgs& args, const AttentionSequence& sequence) {
  return args.sliding_window == 0 ? 0
                                  : std::max(0, sequence.first_position - args.sliding_window + 1);
}

}  // namespace

kv::LayerCodecs DecodePlanner::CodecsOf(const AttentionSequence& sequence) {
  for (const KvSpan& span : sequence.spans) {
    if (!IsOpen(*span.layout)) return {span.layout->k_codec, span.layout->v_codec};
  }
  return {};
}

bool DecodePlanner::Takes(const AttentionArgs& args, const AttentionSequence& sequence) {
  if (sequence.num_rows != 1 || sequence.key_bias) return false;
  const kv::LayerCodecs codecs = CodecsOf(sequence);
  if (!HasDecodeKernel(codecs.k, codecs.v, args.head_dim)) return false;
  // All sealed spans are whole tiles of one layout, one after the other; open ones have at most two
  // layouts.
  const kv::LayerLayout* sealed = nullptr;
  const kv::LayerLayout* open[2] = {};
  int next_position = -1;
  for (const KvSpan& span : sequence.spans) {
    if (IsOpen(*span.layout)) {
      const kv::LayerLayout*& slot = open[span.layout->tile_tokens == kBlockTokens ? 0 : 1];
      if (slot == nullptr) slot = span.layout;
      if (slot != span.layout &&
          (slot->k_offset != span.layout->k_offset || slot->v_offset != span.layout->v_offset)) {
        return false;
      }
      continue;
    }
    if (sealed == nullptr) sealed = span.layout;
    if (span.layout != sealed || !IsWholeTile(span)) return false;
    if (next_position >= 0 && span.first_position != next_position) return false;
    next_position = span.first_position + kBlockTokens;
  }
  return true;
}

void DecodePlanner::Run(const AttentionArgs& args,
                        std::span<const AttentionSequence* const> sequences) {
  std::vector<const AttentionSequence*> left(sequences.begin(), sequences.end());
  while (!left.empty()) {
    const kv::LayerCodecs codecs = CodecsOf(*left[0]);
    Start(args);
    std::vector<const AttentionSequence*> later;
    for (const AttentionSequence* sequence : left) {
      if (num_sequences_ < kMaxDecodeSequences && CodecsOf(*sequence) == codecs) {
        Add(args, *sequence);
      } else {
        later.push_back(sequence);
      }
    }
    Launch(codecs, args);
    left.swap(later);
  }
}

void DecodePlanner::Start(const AttentionArgs& args) {
  num_sequences_ = 0;
  tiles_.clear();
  windows_.clear();
  items_.clear();
  params_.q = reinterpret_cast<const float*>(args.q.data);
  params_.out = reinterpret_cast<float*>(args.out.data);
  params_.q_stride = args.q.cols;
  params_.out_stride = args.out.cols;
  params_.heads = args.heads;
  params_.kv_heads = args.kv_heads;
  params_.scale = args.scale;
}

void DecodePlanner::Add(const AttentionArgs& args, const AttentionSequence& sequence) {
  DecodeSequence& to = params_.sequences[num_sequences_];
  to = {.row = sequence.first_row,
        .oldest_position = OldestPosition(args, sequence),
        .first_tile = static_cast<int32_t>(tiles_.size()),
        .first_item = static_cast<int32_t>(items_.size())};
  const int first_window = static_cast<int>(windows_.size());
  for (const KvSpan& span : sequence.spans) {
    if (span.first_position + span.num_tokens <= to.oldest_position) continue;
    if (!IsOpen(*span.layout)) {
      if (static_cast<int>(tiles_.size()) == to.first_tile) {
        to.sealed = PlacesOf(*span.layout);
        to.first_sealed_position = span.first_position;
      }
      tiles_.push_back(span.data);
      continue;
    }
    const int places = span.layout->tile_tokens == kBlockTokens ? 0 : 1;
    to.open[places] = PlacesOf(*span.layout);
    // Tall sinks in windows.
    for (int slot = span.first_slot / kBlockTokens * kBlockTokens;
         slot < span.first_slot + span.num_tokens; slot += kBlockTokens) {
      windows_.push_back({.data = span.data,
                          .places = places,
                          .tile_tokens = span.layout->tile_tokens,
                          .first_slot = slot,
                          .begin = std::max(0, span.first_slot - slot),
                          .end = std::min(kBlockTokens, span.first_slot + span.num_tokens - slot),
                          .position = span.first_position - span.first_slot + slot});
    }
  }
  AddItems(0, static_cast<int>(tiles_.size()) - to.first_tile, false);
  AddItems(first_window, static_cast<int>(windows_.size()) - first_window, true);
  to.num_items = static_cast<int>(items_.size()) - to.first_item;
  ++num_sequences_;
}

void DecodePlanner::AddItems(int first, int count, bool open) {
  const int part = std::max(kMinPartTiles, ((count + kTargetParts - 1) / kTargetParts + 3) / 4 * 4);
  for (int done = 0; done < count; done += part) {
    items_.push_back({.sequence = num_sequences_,
                      .first = first + done,
                      .count = std::min(part, count - done),
                      .open = open});
  }
}

void DecodePlanner::Launch(kv::LayerCodecs codecs, const AttentionArgs& args) {
  if (items_.empty()) return;
  const size_t floats = DecodePartialFloats(static_cast<int>(items_.size()), args.heads,
                                            args.kv_heads, args.head_dim);
  params_.partial = reinterpret_cast<float*>(partial_.Reserve(floats * sizeof(float)));
  const size_t counters = size_t{kMaxDecodeSequences} * args.kv_heads *
                          DecodeRowBlocks(args.heads, args.kv_heads) * sizeof(int32_t);
  params_.counters = reinterpret_cast<int32_t*>(counters_.Reserve(counters));
  if (params_.partial == nullptr || params_.counters == nullptr) return;
  if (params_.counters != counter_memory_) {
    device_.Note(cudaMemsetAsync(params_.counters, 0, counters_.bytes(), device_.stream()),
                 "clearing counters");
    counter_memory_ = params_.counters;
  }
  params_.tiles = device_.Upload(std::span<const std::byte* const>(tiles_));
  params_.windows = device_.Upload(std::span<const OpenWindow>(windows_));
  params_.items = device_.Upload(std::span<const DecodeItem>(items_));
  params_.num_items = static_cast<int>(items_.size());
  LaunchDecodeAttention(codecs.k, codecs.v, args.head_dim, params_, device_.stream());
  device_.NoteLaunch("attention of decode rows");
}

}  // namespace kvpareto::cuda
