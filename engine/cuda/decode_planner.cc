#include "engine/cuda/decode_planner.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/cuda/unseal.h"

namespace kvpareto::cuda {
namespace {

using kv::CodecId;
using kv::kBlockTokens;

// A part has at least so many tiles: shorter ones would spend their time on merging. Five for each
// warp where a sequence is long enough to keep the device busy all the same, four from kManyTiles
// on (8 equal parts of 8192 tokens), else three, or two of open ones, which are larger.
constexpr int kLongPartTiles = 20;
constexpr int kVeryManyTiles = 256;
constexpr int kMidPartTiles = 16;
constexpr int kManyTiles = 112;
constexpr int kMinPartTiles = 12;
constexpr int kMinOpenPartTiles = 8;
// Open ones also keep so many blocks per multiprocessor busy first.
constexpr int kMostOpenPartTiles = 16;
constexpr int kBusyBlocks = 2;
// The sink and the last block are parts of their own, and do not count towards a sequence's aim.
constexpr int kOtherParts = 8;

int DivideUp(int a, int b) { return (a + b - 1) / b; }

bool IsOpen(const kv::LayerLayout& layout) {
  return layout.k_codec == CodecId::kBf16 && layout.v_codec == CodecId::kBf16;
}

TilePlaces PlacesOf(const kv::LayerLayout* layout) {
  if (layout == nullptr) return {};
  return {.k_offset = static_cast<uint32_t>(layout->k_offset),
          .v_offset = static_cast<uint32_t>(layout->v_offset),
          .k_stride = static_cast<uint32_t>(layout->k_tile_bytes),
          .v_stride = static_cast<uint32_t>(layout->v_tile_bytes)};
}

// As LaunchUnsealDecode leaves tiles.
TilePlaces DecodedPlaces(const AttentionArgs& args) {
  const auto bytes = static_cast<uint32_t>(sizeof(uint16_t) * kBlockTokens * args.head_dim);
  return {.v_offset = args.kv_heads * bytes, .k_stride = bytes, .v_stride = bytes};
}

int OldestPosition(const AttentionArgs& args, const AttentionSequence& sequence) {
  return args.sliding_window == 0 ? 0
                                  : std::max(0, sequence.first_position - args.sliding_window + 1);
}

void AddItems(int sequence, int first, int count, int part, bool open,
              std::vector<DecodeItem>& items) {
  for (int done = 0; done < count; done += part) {
    items.push_back({.sequence = sequence,
                     .first = first + done,
                     .count = std::min(part, count - done),
                     .open = open});
  }
}

// The next of a few sizes per power of two: tables and grids keep their size while a sequence grows
// a little.
size_t RoundUp(size_t count) {
  size_t step = 8;
  while (step * 8 < count) step *= 2;
  return (count + step - 1) / step * step;
}

size_t CounterBytes(int heads, int kv_heads) {
  return size_t{kMaxDecodeSequences} * kv_heads * DecodeRowBlocks(heads, kv_heads) *
         sizeof(int32_t);
}

}  // namespace

// False when the kernels cannot take the sequence.
bool DecodePlanner::Describe(const AttentionArgs& args, const AttentionSequence& sequence,
                             SequenceLayout& layout) {
  if (sequence.num_rows != 1 || sequence.key_bias) return false;
  int next_position = -1;
  for (const KvSpan& span : sequence.spans) {
    const kv::LayerLayout* const own = span.layout;
    if (own == layout.sealed) {
      if (span.num_tokens != kBlockTokens || span.first_position != next_position) return false;
    } else if (own != layout.open[0] && own != layout.open[1]) {
      const kv::LayerLayout** slot = &layout.sealed;
      if (IsOpen(*own)) slot = &layout.open[own->tile_tokens == kBlockTokens ? 0 : 1];
      if (*slot != nullptr) return false;
      *slot = own;
      if (slot == &layout.sealed && (span.first_slot != 0 || span.num_tokens != kBlockTokens)) {
        return false;
      }
      next_position = span.first_position;
    }
    next_position += kBlockTokens;
    if (own != layout.sealed) next_position = -1;
  }
  if (layout.sealed != nullptr) layout.codecs = {layout.sealed->k_codec, layout.sealed->v_codec};
  for (const KvSpan& span : sequence.spans) layout.sealed_tiles += span.layout == layout.sealed;
  const bool wide = layout.codecs.k == CodecId::kF32 || layout.codecs.v == CodecId::kF32;
  layout.decode_first = !HasDecodeKernel(layout.codecs.k, layout.codecs.v, args.head_dim) && !wide;
  const kv::LayerCodecs kernel = layout.kernel_codecs();
  return HasDecodeKernel(kernel.k, kernel.v, args.head_dim);
}

// Whether one launch may take the member and those of the group.
bool DecodePlanner::Fits(const AttentionArgs& args, std::span<const Member> group,
                         const Member& member) const {
  if (group[0].layout.codecs != member.layout.codecs || group.size() == kMaxDecodeSequences) {
    return false;
  }
  if (!member.layout.decode_first) return true;
  int tiles = member.layout.sealed_tiles;
  for (const Member& other : group) tiles += other.layout.sealed_tiles;
  return tiles * DecodedTileBytes(args.kv_heads, args.head_dim) <= bf16_tiles_.bytes();
}

std::vector<const AttentionSequence*> DecodePlanner::Run(
    const AttentionArgs& args, std::span<const AttentionSequence* const> sequences) {
  std::vector<const AttentionSequence*> others;
  std::vector<std::vector<Member>> groups;
  for (const AttentionSequence* sequence : sequences) {
    Member member{sequence, {}};
    if (!Describe(args, *sequence, member.layout)) {
      others.push_back(sequence);
      continue;
    }
    auto group = std::find_if(groups.begin(), groups.end(), [&](const std::vector<Member>& other) {
      return Fits(args, other, member);
    });
    if (group == groups.end()) group = groups.insert(group, std::vector<Member>());
    group->push_back(member);
  }
  if (tables_.size() < groups.size()) tables_.resize(groups.size());
  for (size_t i = 0; i < groups.size(); ++i) RunGroup(args, groups[i], tables_[i]);
  return others;
}

bool DecodePlanner::ReserveScratch(const ScratchLimits& limits) {
  // A sequence has no more sealed parts than the device runs blocks at once (PartTiles).
  constexpr int kMostBlocks = 4;
  const int row_blocks = DecodeRowBlocks(limits.heads, limits.kv_heads);
  const int at_once =
      kMostBlocks * device_.multiprocessors() / (limits.kv_heads * row_blocks) + kOtherParts;
  const size_t items = RoundUp(size_t(limits.max_decode_rows) * std::min(at_once, kMaxParts));
  const size_t floats =
      DecodePartialFloats(static_cast<int>(items), limits.heads, limits.kv_heads, limits.head_dim);
  return partial_.Reserve(floats * sizeof(float)) != nullptr &&
         counters_.Reserve(CounterBytes(limits.heads, limits.kv_heads)) != nullptr;
}

bool DecodePlanner::SameSpans(std::span<const Member> members, const Tables& tables) const {
  if (tables.epoch != device_.upload_epoch()) return false;
  size_t i = 0;
  for (const Member& member : members) {
    for (const KvSpan& span : member.sequence->spans) {
      if (i == tables.spans.size() || tables.spans[i] != span.data ||
          tables.lengths[i] != span.num_tokens) {
        return false;
      }
      ++i;
    }
  }
  return i == tables.spans.size() && members.size() == tables.sequences.size();
}

void DecodePlanner::RunGroup(const AttentionArgs& args, std::span<const Member> members,
                             Tables& tables) {
  const bool decode_first = members[0].layout.decode_first;
  std::byte* decoded = nullptr;
  if (decode_first) {
    int tiles = 0;
    for (const Member& member : members) tiles += member.layout.sealed_tiles;
    decoded = bf16_tiles_.Reserve(tiles * DecodedTileBytes(args.kv_heads, args.head_dim));
    if (decoded == nullptr) return;
  }
  if (!SameSpans(members, tables) || tables.decoded != decoded) {
    tables.decoded = decoded;
    Build(args, members, tables);
  }
  if (tables.items.empty()) return;
  const size_t floats =
      DecodePartialFloats(tables.num_items, args.heads, args.kv_heads, args.head_dim);
  const size_t counters = CounterBytes(args.heads, args.kv_heads);
  DecodeAttentionParams params;
  params.partial = reinterpret_cast<float*>(partial_.Reserve(floats * sizeof(float)));
  params.counters = reinterpret_cast<int32_t*>(counters_.Reserve(counters));
  if (params.partial == nullptr || params.counters == nullptr) return;
  if (params.counters != counter_memory_) {
    device_.Note(cudaMemsetAsync(params.counters, 0, counters, device_.stream()),
                 "clearing counters");
    counter_memory_ = params.counters;
  }
  if (tables.epoch != device_.upload_epoch()) Upload(tables);
  ranges_.clear();
  for (size_t i = 0; i < members.size(); ++i) {
    DecodeSequence& sequence = tables.sequences[i];
    sequence.row = members[i].sequence->first_row;
    sequence.sealed = PlacesOf(members[i].layout.sealed);
    sequence.open[0] = PlacesOf(members[i].layout.open[0]);
    sequence.open[1] = PlacesOf(members[i].layout.open[1]);
    if (!decode_first) continue;
    sequence.open[2] = DecodedPlaces(args);
    sequence.first_k_range = AddRanges(members[i].sequence->k_ranges);
    sequence.first_v_range = AddRanges(members[i].sequence->v_ranges);
  }
  params.sequences = device_.Upload(std::span<const DecodeSequence>(tables.sequences));
  if (decode_first) DecodeTiles(args, members[0].layout.codecs, tables, params.sequences);
  params.tiles = tables.device_tiles;
  params.windows = tables.device_windows;
  params.items = tables.device_items;
  params.num_items = tables.num_items;
  params.q = reinterpret_cast<const float*>(args.q.data);
  params.out = reinterpret_cast<float*>(args.out.data);
  params.q_stride = args.q.cols;
  params.out_stride = args.out.cols;
  params.heads = args.heads;
  params.kv_heads = args.kv_heads;
  params.scale = args.scale;
  const kv::LayerCodecs codecs = members[0].layout.kernel_codecs();
  LaunchDecodeAttention(codecs.k, codecs.v, args.head_dim, params, device_.queue());
}

void DecodePlanner::Build(const AttentionArgs& args, std::span<const Member> members,
                          Tables& tables) {
  tables.spans.clear();
  tables.lengths.clear();
  tables.tiles.clear();
  tables.tile_sequence.clear();
  tables.windows.clear();
  tables.items.clear();
  tables.sequences.clear();
  tables.epoch = -1;
  for (const Member& member : members) Add(args, member, tables);
  // Long ones first: what is left at the end, when fewer blocks run than could, is short.
  std::ranges::stable_sort(tables.items, [](const DecodeItem& a, const DecodeItem& b) {
    return a.open != b.open ? a.open < b.open : a.count > b.count;
  });
  tables.num_items = static_cast<int>(RoundUp(tables.items.size()));
  if (!tables.items.empty()) tables.items.resize(tables.num_items);
}

void DecodePlanner::Upload(Tables& tables) {
  tables.device_tiles =
      device_.Upload(std::span<const std::byte* const>(tables.tiles), RoundUp(tables.tiles.size()));
  tables.device_tile_sequence = device_.Upload(std::span<const int32_t>(tables.tile_sequence),
                                               RoundUp(tables.tile_sequence.size()));
  tables.device_windows =
      device_.Upload(std::span<const OpenWindow>(tables.windows), RoundUp(tables.windows.size()));
  tables.device_items = device_.Upload(std::span<const DecodeItem>(tables.items));
  tables.epoch = device_.upload_epoch();
}

int DecodePlanner::AddRanges(std::span<const kv::StaticRange> ranges) {
  if (ranges.empty()) return -1;
  const int first = static_cast<int>(ranges_.size());
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  return first;
}

void DecodePlanner::DecodeTiles(const AttentionArgs& args, const kv::LayerCodecs& codecs,
                                const Tables& tables, const DecodeSequence* sequences) {
  if (tables.tiles.empty()) return;
  UnsealDecodeParams params{.codec = codecs.k,
                            .role = kv::Role::kKey,
                            .kv_heads = args.kv_heads,
                            .head_dim = args.head_dim,
                            .num_tiles = static_cast<int>(tables.tiles.size()),
                            .grid_tiles = static_cast<int>(RoundUp(tables.tiles.size())),
                            .tiles = tables.device_tiles,
                            .tile_sequence = tables.device_tile_sequence,
                            .sequences = sequences,
                            .ranges = device_.Upload(std::span<const kv::StaticRange>(ranges_)),
                            .to = tables.decoded};
  LaunchUnsealDecode(params, device_.queue());
  params.codec = codecs.v;
  params.role = kv::Role::kValue;
  LaunchUnsealDecode(params, device_.queue());
}

// Tiles of a part of `count` tiles: a long sequence is cut into as many parts as the device runs at
// once. How a sequence is cut depends on its own length and codecs alone, and so does the result.
int DecodePlanner::PartTiles(const AttentionArgs& args, const kv::LayerCodecs& codecs,
                             int count) const {
  const int blocks_per_part = args.kv_heads * DecodeRowBlocks(args.heads, args.kv_heads);
  const auto tiles = [&](int blocks) {
    const int parts = blocks * device_.multiprocessors() / blocks_per_part - 1;
    return DivideUp(count, std::clamp(parts, 1, kMaxParts - kOtherParts));
  };
  const int most = DecodeBlocksAtOnce(codecs.k, codecs.v, args.head_dim);
  const bool open = codecs.k == CodecId::kBf16 && codecs.v == CodecId::kBf16;
  const int sealed = count >= kVeryManyTiles ? kLongPartTiles
                     : count >= kManyTiles   ? kMidPartTiles
                                             : kMinPartTiles;
  const int least =
      open ? std::clamp(tiles(kBusyBlocks), kMinOpenPartTiles, kMostOpenPartTiles) : sealed;
  return DivideUp(std::max(least, tiles(most)), 4) * 4;
}

void DecodePlanner::Add(const AttentionArgs& args, const Member& member, Tables& tables) {
  const AttentionSequence& sequence = *member.sequence;
  const int index = static_cast<int>(tables.sequences.size());
  DecodeSequence to{.oldest_position = OldestPosition(args, sequence),
                    .first_tile = static_cast<int32_t>(tables.tiles.size()),
                    .first_item = static_cast<int32_t>(tables.items.size())};
  const int first_window = static_cast<int>(tables.windows.size());
  const size_t decoded_bytes = DecodedTileBytes(args.kv_heads, args.head_dim);
  for (const KvSpan& span : sequence.spans) {
    tables.spans.push_back(span.data);
    tables.lengths.push_back(span.num_tokens);
    if (span.first_position + span.num_tokens <= to.oldest_position) continue;
    if (!IsOpen(*span.layout)) {
      if (static_cast<int>(tables.tiles.size()) == to.first_tile) {
        to.first_sealed_position = span.first_position;
      }
      if (member.layout.decode_first) {
        tables.windows.push_back({.data = tables.decoded + tables.tiles.size() * decoded_bytes,
                                  .places = 2,
                                  .tile_tokens = kBlockTokens,
                                  .end = kBlockTokens,
                                  .position = span.first_position});
        tables.tile_sequence.push_back(index);
      }
      tables.tiles.push_back(span.data);
      continue;
    }
    // Tall sinks in windows.
    const int end_slot = span.first_slot + span.num_tokens;
    for (int slot = span.first_slot / kBlockTokens * kBlockTokens; slot < end_slot;
         slot += kBlockTokens) {
      tables.windows.push_back({.data = span.data,
                                .places = span.layout->tile_tokens == kBlockTokens ? 0 : 1,
                                .tile_tokens = span.layout->tile_tokens,
                                .first_slot = slot,
                                .begin = std::max(0, span.first_slot - slot),
                                .end = std::min(kBlockTokens, end_slot - slot),
                                .position = span.first_position - span.first_slot + slot});
    }
  }
  const auto add_items = [&](int first, int count, bool open) {
    AddItems(index, first, count, PartTiles(args, member.layout.kernel_codecs(), count), open,
             tables.items);
  };
  if (!member.layout.decode_first) {
    add_items(0, static_cast<int>(tables.tiles.size()) - to.first_tile, false);
  }
  add_items(first_window, static_cast<int>(tables.windows.size()) - first_window, true);
  to.num_items = static_cast<int>(tables.items.size()) - to.first_item;
  for (int i = 0; i < to.num_items; ++i) tables.items[to.first_item + i].part = i;
  KVP_CHECK(to.num_items <= kMaxParts) << to.num_items;
  tables.sequences.push_back(to);
}

}  // namespace kvpareto::cuda
