// Gathers what a prefill chunk reads of its sequence's cache into dense tiles (dense_tiles.h).
#pragma once

#include <vector>

#include "engine/cuda/dense_tiles.h"
#include "engine/cuda/device.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

// Where they are; positions count from the sequence's start.
struct DenseView {
  const std::byte* k = nullptr;  // of KV head 0; null: out of memory
  const std::byte* v = nullptr;
  size_t head_stride = 0;  // bytes from head to head
  int position = 0;        // of the first row
  int first_key = 0;       // of the first token that there is
};

class DenseCache {
 public:
  DenseCache(Device* device, Scratch* scratch) : device_(*device), scratch_(*scratch) {}

  // Whether the sequence's tokens follow one another, and none is f32.
  static bool Takes(const AttentionSequence& sequence);
  // Tiles of all tokens that the sequence's queries may read; rows before the first and after the
  // last are zero. Good until the next call.
  DenseView Make(const AttentionArgs& args, const AttentionSequence& sequence);

  // For one sequence of the longest context. False: out of memory, noted in the device.
  bool ReserveScratch(const ScratchLimits& limits);

 private:
  struct Part {
    kv::CodecId codec;
    kv::Role role;
    DenseItem item;
  };

  void AddSpan(const KvSpan& span, int first_position, int k_range, int v_range);
  void AddZeros(int begin_row, int end_row);
  int AddRanges(std::span<const kv::StaticRange> ranges);
  void Launch(const AttentionArgs& args, const DenseView& view);

  Device& device_;
  Scratch& scratch_;
  std::vector<Part> parts_;
  std::vector<kv::StaticRange> ranges_;
};

}  // namespace kvpareto::cuda
