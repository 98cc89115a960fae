// Attention of a step: sorts its sequences by what can compute them, and runs the kernels.
#pragma once

#include <memory>
#include <vector>

#include "engine/cuda/attention_open.h"
#include "engine/cuda/attention_prefill.h"
#include "engine/cuda/decode_planner.h"
#include "engine/cuda/dense_cache.h"
#include "engine/cuda/device.h"
#include "engine/cuda/seal.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

// Encoded tiles as open ones in scratch memory, for kernels that read open tiles only.
class TileUnpacker {
 public:
  // `scratch`: where tiles are unpacked to, until the next Run of whoever has it.
  TileUnpacker(Device* device, kv::CodecId open_codec, Scratch* scratch)
      : device_(*device), open_codec_(open_codec), scratch_(*scratch) {}

  // Starts a step over: the spans of all sequences that follow.
  void Begin(const AttentionArgs& args);
  // Adds one sequence's spans to `pieces`, in order; encoded tiles will be in scratch memory.
  void Add(const AttentionSequence& sequence, std::vector<OpenPiece>& pieces);
  // Unpacks what was added, and sets the pieces' pointers into scratch memory. False: out of
  // memory.
  bool Run(std::vector<OpenPiece>& pieces);

  // For one sequence of the longest context. False: out of memory, noted in the device.
  bool ReserveScratch(const ScratchLimits& limits);

 private:
  struct Tile {
    kv::CodecId codec;
    kv::Role role;
    TileItem item;  // `to` is an offset until Run
  };
  // A piece whose K or V is at an offset of the scratch memory.
  struct Patch {
    size_t piece;
    kv::Role role;
    size_t offset;
  };

  size_t AddTile(const KvSpan& span, kv::Role role, int first_range);
  int AddRanges(std::span<const kv::StaticRange> ranges);

  Device& device_;
  const kv::CodecId open_codec_;
  Scratch& scratch_;
  int kv_heads_ = 0;
  int head_dim_ = 0;
  size_t bytes_ = 0;
  std::vector<Tile> tiles_;
  std::vector<Patch> patches_;
  std::vector<kv::StaticRange> ranges_;
};

class Attention {
 public:
  // `wgmma`: use Hopper's warpgroup products where device and program have them.
  Attention(Device* device, bool wgmma);
  ~Attention();

  void Run(const AttentionArgs& args);
  // False: out of memory, noted in the device.
  bool ReserveScratch(const ScratchLimits& limits);

 private:
  // Any sequence, slowly. One at a time: scratch memory is planned for one.
  void RunOpen(const AttentionArgs& args, const AttentionSequence& sequence);
  // Chunks on tensor cores; returns those that no kernel takes (key bias, f32, odd sizes).
  std::vector<const AttentionSequence*> RunPrefill(
      const AttentionArgs& args, std::span<const AttentionSequence* const> sequences);
  void RunDense(const AttentionArgs& args, const AttentionSequence& sequence);
  // False: not taken.
  bool RunWindows(const AttentionArgs& args, const AttentionSequence& sequence);

  Device& device_;
  // A layer's keys and values of one sequence of the longest context, as f32 and as bf16. What is
  // decoded into them is used by the operation that follows.
  Scratch wide_tiles_;
  Scratch bf16_tiles_;
  DecodePlanner decode_;
  TileUnpacker exact_;    // to f32
  TileUnpacker rounded_;  // to bf16
  DenseCache dense_;
  const bool wgmma_;
};

}  // namespace kvpareto::cuda
