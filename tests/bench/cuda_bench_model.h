// The models of cuda_bench: shapes of published ones, random weights and cache blocks.
#ifndef KVPARETO_TESTS_BENCH_CUDA_BENCH_MODEL_H_
#define KVPARETO_TESTS_BENCH_CUDA_BENCH_MODEL_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <vector>

#include "engine/base/check.h"
#include "engine/kv/block_layout.h"
#include "engine/model/transformer.h"

namespace kvpareto::bench {

inline void Check(cudaError_t error) {
  KVP_CHECK(error == cudaSuccess) << cudaGetErrorString(error);
}

// Contexts of up to 131,072 + 8,192 tokens.
ModelConfig Llama8B();
ModelConfig Qwen7B();
ModelConfig Mistral7B();

// Linear layers, embedding and head of random 4-bit codes in groups of 128, on the device.
ModelWeights RandomWeights(const ModelConfig& config, Backend& backend);

// What a product with a matrix reads of it, and a decode step of all of them.
size_t WeightBytes(const Weight& matrix);
size_t WeightBytesPerStep(const ModelWeights& weights);

// One encoded block of normally distributed keys and values, all layers alike.
std::vector<std::byte> RandomBlock(const kv::BlockLayout& layout, const ModelConfig& config);

}  // namespace kvpareto::bench

#endif  // KVPARETO_TESTS_BENCH_CUDA_BENCH_MODEL_H_
