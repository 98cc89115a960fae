// Both backends side by side: what the scalar CPU backend computes, the CUDA backend must.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "engine/cpu/cpu_backend.h"
#include "engine/cuda/cuda_backend.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

inline std::vector<float> RandomFloats(size_t count, uint32_t seed, float sigma = 1.0f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> values(count);
  for (float& value : values) value = normal(rng);
  return values;
}

// One CUDA backend for all tests of the program. Tests are skipped, and say so, without a GPU.
class CudaTest : public ::testing::Test {
 protected:
  static Backend* Gpu() {
    static auto& backend = *new absl::StatusOr<std::unique_ptr<Backend>>(CreateCudaBackend());
    return Get(backend);
  }
  // One that runs the kernels of older devices.
  static Backend* OlderGpu() {
    static auto& backend =
        *new absl::StatusOr<std::unique_ptr<Backend>>(CreateCudaBackend({.wgmma = false}));
    return Get(backend);
  }
  static Backend& Cpu() {
    static Backend& backend = *CreateCpuBackend({.threads = 2, .isa = "scalar"})->release();
    return backend;
  }

  void SetUp() override {
    if (Gpu() == nullptr) GTEST_SKIP() << "no CUDA device";
  }
  void TearDown() override {
    if (Gpu() != nullptr) {
      EXPECT_TRUE(Gpu()->Synchronize().ok()) << Gpu()->Synchronize();
    }
  }

 private:
  static Backend* Get(const absl::StatusOr<std::unique_ptr<Backend>>& backend) {
    if (backend.ok()) return backend->get();
    if (backend.status().code() != absl::StatusCode::kFailedPrecondition) {
      ADD_FAILURE() << backend.status();
    }
    return nullptr;
  }
};

// A matrix in both backends' memory.
class Matrix {
 public:
  Matrix(Backend& backend, std::span<const float> values, int cols)
      : backend_(backend), memory_(*backend.Allocate(values.size_bytes())) {
    view_ = {memory_->data(), static_cast<int>(values.size()) / cols, cols};
    backend.CopyFromHost(memory_->data(), values.data(), values.size_bytes());
  }

  const Activations& view() const { return view_; }
  std::vector<float> Read() const {
    std::vector<float> values(size_t(view_.rows) * view_.cols);
    backend_.CopyToHost(values.data(), view_.data, values.size() * sizeof(float));
    return values;
  }

 private:
  Backend& backend_;
  std::unique_ptr<DeviceBuffer> memory_;
  Activations view_;
};

inline void ExpectNear(std::span<const float> got, std::span<const float> want, float relative,
                       float absolute) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i], want[i], absolute + relative * std::abs(want[i])) << "at " << i;
  }
}

}  // namespace kvpareto::cuda
