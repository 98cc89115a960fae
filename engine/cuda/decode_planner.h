// Cuts decode rows into items for the tensor-core kernels (attention_decode.h). Sealed tiles of
// codecs that no kernel reads are decoded to bf16 first.
#pragma once

#include <span>
#include <vector>

#include "engine/cuda/attention_decode.h"
#include "engine/cuda/device.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

// Where the tiles of a sequence stand, for one layer.
struct SequenceLayout {
  kv::LayerCodecs codecs;                   // of sealed tiles; bf16 when there are none
  const kv::LayerLayout* sealed = nullptr;  // whole tiles, one after the other
  const kv::LayerLayout* open[2] = {};      // bf16: blocks, sink
  int sealed_tiles = 0;
  bool decode_first = false;  // no kernel reads these codecs

  kv::LayerCodecs kernel_codecs() const { return decode_first ? kv::LayerCodecs{} : codecs; }
};

class DecodePlanner {
 public:
  // `bf16_tiles`: where sealed tiles are decoded to, of one sequence or of as many as fit.
  DecodePlanner(Device* device, Scratch* bf16_tiles)
      : device_(*device), bf16_tiles_(*bf16_tiles), partial_(device), counters_(device) {}

  // Runs those sequences that the kernels take (one token, no f32, no key bias); returns the
  // others.
  std::vector<const AttentionSequence*> Run(const AttentionArgs& args,
                                            std::span<const AttentionSequence* const> sequences);

  // False: out of memory, noted in the device.
  bool ReserveScratch(const ScratchLimits& limits);

 private:
  struct Member {
    const AttentionSequence* sequence;
    SequenceLayout layout;
  };
  // Sequences of one pair of codecs, as tables. Those of a step are the same for all its layers but
  // for the offsets inside extents: so they are kept, and used again when the spans are the same.
  struct Tables {
    std::vector<const std::byte*>
        spans;  // of all sequences, and their lengths: what was planned for
    std::vector<int32_t> lengths;
    std::vector<const std::byte*> tiles;
    std::vector<int32_t> tile_sequence;  // of tiles that are decoded first
    std::vector<OpenWindow> windows;
    std::vector<DecodeItem> items;
    std::vector<DecodeSequence> sequences;
    std::byte* decoded = nullptr;  // where tiles are decoded to
    const std::byte* const* device_tiles = nullptr;
    const int32_t* device_tile_sequence = nullptr;
    const OpenWindow* device_windows = nullptr;
    const DecodeItem* device_items = nullptr;
    int epoch = -1;  // of the uploads
    int num_items = 0;
  };

  static bool Describe(const AttentionArgs& args, const AttentionSequence& sequence,
                       SequenceLayout& layout);
  bool Fits(const AttentionArgs& args, std::span<const Member> group, const Member& member) const;
  void RunGroup(const AttentionArgs& args, std::span<const Member> members, Tables& tables);
  bool SameSpans(std::span<const Member> members, const Tables& tables) const;
  void Build(const AttentionArgs& args, std::span<const Member> members, Tables& tables);
  int PartTiles(const AttentionArgs& args, const kv::LayerCodecs& codecs, int count) const;
  void Add(const AttentionArgs& args, const Member& member, Tables& tables);
  void Upload(Tables& tables);
  int AddRanges(std::span<const kv::StaticRange> ranges);
  void DecodeTiles(const AttentionArgs& args, const kv::LayerCodecs& codecs, const Tables& tables,
                   const DecodeSequence* sequences);

  Device& device_;
  Scratch& bf16_tiles_;
  Scratch partial_;
  Scratch counters_;
  int32_t* counter_memory_ = nullptr;  // what was zeroed
  std::vector<Tables> tables_;         // one per group of a layer, reused
  std::vector<kv::StaticRange> ranges_;
};

}  // namespace kvpareto::cuda
