// Attention of prefill chunks on Hopper's warpgroup products, over dense tiles (dense_tiles.h).
#pragma once

#include <cstddef>

#include "engine/cuda/launch_queue.h"
#include "engine/cuda/prefill_rows.h"

namespace kvpareto::cuda {

struct WgmmaPrefillParams {
  PrefillRows rows;
  const std::byte* k = nullptr;  // dense tiles of KV head 0, up to the chunk's last token
  const std::byte* v = nullptr;  // rows that no token has are zero
  size_t head_stride = 0;        // bytes from head to head
  int dense_position = 0;        // of the first dense row
  int first_key = 0;             // position of the first token that there is
};

// Whether this program has the kernel for the current device. Asks the device.
bool HasWgmmaPrefill();
// head_dim: 64 or 128.
void LaunchWgmmaPrefill(int head_dim, const WgmmaPrefillParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
