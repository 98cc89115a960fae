// y = x W^T for both kinds of rows: few (decode) from the packed codes, many (prefill) through
// cuBLASLt on panels unpacked to bf16. For decode rows, the norm before it and the gate behind it
// are part of the same kernels.
#pragma once

#include <cublasLt.h>

#include <map>
#include <memory>
#include <tuple>

#include "engine/cuda/device.h"
#include "engine/cuda/device_weight.h"
#include "engine/cuda/linear_decode.h"

namespace kvpareto::cuda {

class Linear {
 public:
  static absl::StatusOr<std::unique_ptr<Linear>> Create(Device* device);
  ~Linear();
  Linear(const Linear&) = delete;
  Linear& operator=(const Linear&) = delete;

  void Run(const ProjectArgs& args);
  // False: out of memory, noted in the device.
  bool ReserveScratch(const ScratchLimits& limits);

 private:
  // One product of bf16 matrices: y[rows, n] (stride y_stride) (+)= x[rows, k] w[n, k]^T.
  struct Product {
    const uint16_t* x = nullptr;
    const uint16_t* w = nullptr;
    float* y = nullptr;
    int rows = 0;
    int n = 0;
    int k = 0;
    int y_stride = 0;
    bool accumulate = false;
  };

  explicit Linear(Device* device)
      : device_(*device),
        packed_x_(device),
        packed_sums_(device),
        rounded_x_(device),
        panel_(device),
        workspace_(device) {}

  void RunDecode(const ProjectArgs& args);
  void DecodeRows(const ProjectArgs& args, int first_row, int rows, bool gated);
  bool RunBatch(const LinearDecodeParams& linear, PackRowsParams& source);
  const BatchPlan& PlanOf(const PackedMatrix& matrix, int rows, bool gated);
  void RunPrefill(const LinearArgs& args, int first_row, int rows);
  void Multiply(const Product& product);
  // The algorithm for a width and depth. It does not depend on the number of rows, so that a row's
  // sums do not depend on what else is in the step.
  const cublasLtMatmulAlgo_t* AlgorithmFor(const Product& product, cublasLtMatmulDesc_t operation);

  Device& device_;
  cublasLtHandle_t handle_ = nullptr;
  // By n, k and whether y is aligned to 16 bytes.
  std::map<std::tuple<int, int, bool>, cublasLtMatmulAlgo_t> algorithms_;
  // By what of a matrix it depends on, rows at a time, and whether there is a gate.
  std::map<std::tuple<CodeFormat, ParamKind, int, int, int, int, bool>, BatchPlan> plans_;
  Scratch packed_x_;     // activations of decode rows as B operands
  Scratch packed_sums_;  // of these over groups of columns
  Scratch rounded_x_;    // activations of prefill rows as bf16
  Scratch panel_;        // weights as bf16
  Scratch workspace_;    // of cuBLASLt
};

}  // namespace kvpareto::cuda
