// cos and sin of RoPE's angles by position, as the key bias term of attention reads them
// (ops/backend.h, AttentionArgs::bias_query). Plain data only: see attention_task.h.
#pragma once

namespace kvpareto::cpu {

inline constexpr int kAnglePositions = 16;  // of a group: one vector of tokens
inline constexpr int kAngleChunkPositions = 1024;

// Groups of kAnglePositions positions, [head_dim, kAnglePositions] floats each: the cosines of all
// pairs, then the sines. A chunk is kAngleChunkPositions / kAnglePositions groups.
struct AngleView {
  const float* const* chunks = nullptr;
  int head_dim = 0;
};

}  // namespace kvpareto::cpu
