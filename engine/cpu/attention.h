// Attention, KV stores and sealing on the CPU: the entry points that CpuBackend forwards to.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/cpu/isa.h"
#include "engine/cpu/thread_pool.h"
#include "engine/ops/backend.h"

namespace kvpareto::cpu {

// Attention with its per-thread scratch (decoded tiles, score tiles, softmax states). Argument
// contracts: ops/backend.h. Activations are float.
class AttentionKernel {
 public:
  virtual ~AttentionKernel() = default;
  static std::unique_ptr<AttentionKernel> Create(Isa isa, ThreadPool* pool);
  virtual void Run(const AttentionArgs& args) = 0;
  virtual size_t scratch_bytes() const = 0;  // high-water mark
};

void StoreKv(Isa isa, ThreadPool& pool, const StoreKvArgs& args);
void Seal(Isa isa, ThreadPool& pool, const SealArgs& args);
void Requantize(Isa isa, ThreadPool& pool, const RequantizeArgs& args);

}  // namespace kvpareto::cpu
