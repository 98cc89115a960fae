// New keys and values into open tiles.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "engine/kv/block_layout.h"

namespace kvpareto::cuda {

struct StoreItem {
  std::byte* data = nullptr;
  kv::LayerLayout layout;
  int first_slot = 0;
  int num_tokens = 0;
  int first_row = 0;
};

inline constexpr int kStoreBatch = 32;

// Passed by value: no table has to be copied to the device for a few items.
struct StoreParams {
  StoreItem items[kStoreBatch];
  int num_items = 0;
  int max_tokens = 0;  // of any item
  const float* qkv = nullptr;
  int stride = 0;
  int k_first_col = 0;
  int v_first_col = 0;
  int kv_heads = 0;
  int head_dim = 0;
};
void LaunchStoreKv(const StoreParams& params, cudaStream_t stream);

}  // namespace kvpareto::cuda
