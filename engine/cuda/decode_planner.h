// Cuts decode rows into items for the tensor-core kernels (attention_decode.h).
#pragma once

#include <span>
#include <vector>

#include "engine/cuda/attention_decode.h"
#include "engine/cuda/device.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

class DecodePlanner {
 public:
  explicit DecodePlanner(Device* device) : device_(*device), partial_(device), counters_(device) {}

  // Whether the kernels take this sequence: one token, known codecs, no key bias.
  static bool Takes(const AttentionArgs& args, const AttentionSequence& sequence);

  // Runs sequences that Takes() accepts.
  void Run(const AttentionArgs& args, std::span<const AttentionSequence* const> sequences);

  size_t scratch_bytes() const { return partial_.bytes() + counters_.bytes(); }

 private:
  // The codecs of a sequence's sealed blocks; bf16 when it has none.
  static kv::LayerCodecs CodecsOf(const AttentionSequence& sequence);
  void Start(const AttentionArgs& args);
  void Add(const AttentionArgs& args, const AttentionSequence& sequence);
  void AddItems(int first, int count, bool open);
  void Launch(kv::LayerCodecs codecs, const AttentionArgs& args);

  Device& device_;
  Scratch partial_;
  Scratch counters_;
  int32_t* counter_memory_ = nullptr;  // what was zeroed
  DecodeAttentionParams params_;
  int num_sequences_ = 0;
  std::vector<const std::byte*> tiles_;
  std::vector<OpenWindow> windows_;
  std::vector<DecodeItem> items_;
};

}  // namespace kvpareto::cuda
