// Keys and values that pass through their codec when they are written: a cache without blocks, as
// KV Pareto (arXiv 2512.01953) and most servers keep it. A baseline to measure against.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/kv_transforms.h"
#include "engine/model/model_config.h"
#include "engine/policy/kv_config.h"

namespace kvpareto {

// Follows one sequence. "...-smooth" codecs take out the mean of each channel over all tokens
// written so far, those of the current step included, instead of the mean over a tile.
class WriteCodec {
 public:
  // `transforms` may be null; it outlives this. Error: INVALID_ARGUMENT (CODEC_NEEDS_BLOCKS) for a
  // codec whose tokens share scales.
  static absl::StatusOr<WriteCodec> Create(const KvConfig& config, const ModelConfig& model,
                                           const KvTransforms* transforms);

  // Replaces the keys and values of `qkv` [rows, (heads + 2 kv_heads) * head_dim], those of
  // consecutive tokens in their order, by what the codec makes of them. Sink tokens stay as they
  // are.
  void Apply(int layer, int64_t first_position, std::span<float> qkv);

 private:
  struct Part {
    kv::Role role;
    kv::CodecId codec;
    bool smooth = false;
    std::vector<double> sums;  // [kv_heads, head_dim], all tokens; empty unless smooth
  };
  struct Rows {
    float* first = nullptr;  // one head's vector in the first row
    size_t stride = 0;
    int count = 0;
    int exact = 0;  // the first so many stay as they are
  };

  WriteCodec(const ModelConfig& model, int sink_tokens, const KvTransforms* transforms)
      : model_(model), sink_tokens_(sink_tokens), transforms_(transforms) {}

  void ApplyTo(Part& part, int head, kv::StaticRange range, int64_t tokens_so_far, Rows rows);

  ModelConfig model_;
  int sink_tokens_ = 0;
  const KvTransforms* transforms_ = nullptr;
  std::vector<Part> parts_;  // [layers][K, V]
};

}  // namespace kvpareto
