// Attention of prefill chunks on tensor cores, over open bf16 tiles (encoded ones are unpacked
// before).
#pragma once

#include <cstdint>

#include "engine/cuda/launch_queue.h"
#include "engine/cuda/prefill_rows.h"

namespace kvpareto::cuda {

// Up to 64 token slots of one open bf16 tile, of all KV heads.
struct PrefillWindow {
  const std::byte* k = nullptr;  // tile of KV head 0
  const std::byte* v = nullptr;
  uint32_t k_stride = 0;  // bytes from head to head
  uint32_t v_stride = 0;
  int32_t tile_tokens = 0;
  int32_t first_slot = 0;  // of the window inside the tile, a multiple of 64
  int32_t begin = 0;       // valid slots [begin, end), counted from first_slot
  int32_t end = 0;
  int32_t position = 0;  // of first_slot
};

struct PrefillParams {
  PrefillRows rows;
  const PrefillWindow* windows = nullptr;  // in position order, device
  int num_windows = 0;
};

bool HasPrefillKernel(int head_dim);
void LaunchPrefillAttention(int head_dim, const PrefillParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
