// New keys and values into open tiles.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "engine/cuda/elementwise.h"
#include "engine/cuda/launch_queue.h"
#include "engine/kv/block_layout.h"

namespace kvpareto::cuda {

struct StoreItem {
  std::byte* data = nullptr;
  kv::LayerLayout layout;
  int first_slot = 0;
  int num_tokens = 0;
  int first_row = 0;
};

struct StoreParams {
  const StoreItem* items = nullptr;  // [num_items], device
  int num_items = 0;
  int max_tokens = 0;  // of any item
  const float* qkv = nullptr;
  int stride = 0;
  int k_first_col = 0;
  int v_first_col = 0;
  int kv_heads = 0;
  int head_dim = 0;
};
void LaunchStoreKv(const StoreParams& params, LaunchQueue& queue);

// LaunchRope, then LaunchStoreKv, where item i is the one token of row i.
void LaunchRopeStore(const RopeParams& rope, const StoreParams& params, LaunchQueue& queue);

}  // namespace kvpareto::cuda
