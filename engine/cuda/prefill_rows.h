// The queries of one sequence's chunk.
#pragma once

namespace kvpareto::cuda {

struct PrefillRows {
  int first_row = 0;  // of q and out
  int num_rows = 0;
  int first_position = 0;
  int sliding_window = 0;
  const float* q = nullptr;
  float* out = nullptr;
  int q_stride = 0;
  int out_stride = 0;
  int heads = 0;
  int kv_heads = 0;
  float scale = 0.0f;
};

}  // namespace kvpareto::cuda
