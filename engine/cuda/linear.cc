#include "engine/cuda/linear.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/cuda/elementwise.h"
#include "engine/cuda/linear_decode.h"
#include "engine/cuda/unpack_matrix.h"

namespace kvpareto::cuda {
namespace {

// Weights are unpacked this many bytes at a time: few enough to be still in the L2 cache when the
// product reads them.
constexpr size_t kPanelBytes = size_t{64} << 20;
constexpr size_t kWorkspaceBytes = size_t{32} << 20;
constexpr int kAlgorithmRows = 2048;  // rows that algorithms are chosen for

const float* RowOf(const Activations& a, int row) {
  return reinterpret_cast<const float*>(a.data) + size_t(row) * a.cols;
}

// Column-major descriptors of the product's operands; cuBLASLt computes y^T = w x^T.
struct Layouts {
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;
  Layouts(int n, int k, int rows, int y_stride) {
    cublasLtMatrixLayoutCreate(&w, CUDA_R_16BF, k, n, k);
    cublasLtMatrixLayoutCreate(&x, CUDA_R_16BF, k, rows, k);
    cublasLtMatrixLayoutCreate(&y, CUDA_R_32F, n, rows, y_stride);
  }
  ~Layouts() {
    cublasLtMatrixLayoutDestroy(w);
    cublasLtMatrixLayoutDestroy(x);
    cublasLtMatrixLayoutDestroy(y);
  }
  Layouts(const Layouts&) = delete;
  Layouts& operator=(const Layouts&) = delete;
};

cudaError_t ToCuda(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? cudaSuccess : cudaErrorUnknown;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Linear>> Linear::Create(Device* device) {
  std::unique_ptr<Linear> linear(new Linear(device));
  device->Note(ToCuda(cublasLtCreate(&linear->handle_)), "starting cuBLASLt");
  KVP_RETURN_IF_ERROR(device->Synchronize());
  return linear;
}

Linear::~Linear() {
  if (handle_ != nullptr) cublasLtDestroy(handle_);
}

void Linear::Run(const LinearArgs& args) {
  const auto& weight = static_cast<const DeviceWeight&>(*args.weight);
  KVP_CHECK(!weight.is_vector() && args.x.cols == weight.cols() && args.y.cols == weight.rows())
      << "x " << args.x.cols << ", weight " << weight.rows() << " x " << weight.cols() << ", y "
      << args.y.cols;
  KVP_CHECK(args.x.rows == args.y.rows &&
            args.split.decode_rows + args.split.prefill_rows == args.x.rows);
  for (int row = 0; row < args.split.decode_rows; row += kMaxDecodeTokens) {
    RunDecode(args, row, std::min(kMaxDecodeTokens, args.split.decode_rows - row));
  }
  if (args.split.prefill_rows > 0) {
    RunPrefill(args, args.split.decode_rows, args.split.prefill_rows);
  }
}

void Linear::RunDecode(const LinearArgs& args, int first_row, int rows) {
  const auto& weight = static_cast<const DeviceWeight&>(*args.weight);
  const auto* bias = static_cast<const DeviceWeight*>(args.bias);
  LinearDecodeParams params;
  params.x = RowOf(args.x, first_row);
  params.tokens = rows;
  params.y_stride = args.y.cols;
  params.accumulate = args.accumulate;
  if (rows > 1) {
    const int blocks = weight.matrices()[0].blocks;
    auto* packed =
        reinterpret_cast<uint32_t*>(packed_x_.Reserve(PackedActivationBytes(rows, blocks)));
    if (packed == nullptr) return;
    LaunchPackActivations(params.x, rows, args.x.cols, blocks, packed, device_.queue());
    params.packed_x = packed;
  }
  int column = 0;
  for (const PackedMatrix& matrix : weight.matrices()) {
    params.w = matrix;
    params.y = const_cast<float*>(RowOf(args.y, first_row)) + column;
    params.bias = bias == nullptr ? nullptr : bias->vector() + column;
    LaunchLinearDecode(params, device_.queue());
    column += matrix.rows;
  }
}

void Linear::RunPrefill(const LinearArgs& args, int first_row, int rows) {
  const auto& weight = static_cast<const DeviceWeight&>(*args.weight);
  const int k = weight.matrices()[0].blocks * kBlockCols;
  auto* x = reinterpret_cast<uint16_t*>(rounded_x_.Reserve(size_t(rows) * k * sizeof(uint16_t)));
  if (x == nullptr) return;
  LaunchPadBf16(RowOf(args.x, first_row), rows, args.x.cols, k, x, device_.queue());
  float* y = const_cast<float*>(RowOf(args.y, first_row));
  const size_t panel_bytes = size_t{kPanelRows} * k * sizeof(uint16_t);
  const int batch = static_cast<int>(std::max<size_t>(1, kPanelBytes / panel_bytes));
  int column = 0;
  for (const PackedMatrix& matrix : weight.matrices()) {
    for (int panel = 0; panel < matrix.panels(); panel += batch) {
      const int panels = std::min(batch, matrix.panels() - panel);
      auto* w = reinterpret_cast<uint16_t*>(panel_.Reserve(panels * panel_bytes));
      if (w == nullptr) return;
      LaunchUnpackPanels(matrix, panel, panels, w, device_.queue());
      Multiply({.x = x,
                .w = w,
                .y = y + column + panel * kPanelRows,
                .rows = rows,
                .n = std::min(panels * kPanelRows, matrix.rows - panel * kPanelRows),
                .k = k,
                .y_stride = args.y.cols,
                .accumulate = args.accumulate});
    }
    column += matrix.rows;
  }
  if (args.bias != nullptr) {
    LaunchAddBias(static_cast<const DeviceWeight*>(args.bias)->vector(), y, rows, args.y.cols,
                  device_.queue());
  }
}

void Linear::Multiply(const Product& product) {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  const cublasOperation_t transpose = CUBLAS_OP_T;
  cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSA, &transpose,
                                 sizeof(transpose));
  const cublasLtMatmulAlgo_t* algorithm = AlgorithmFor(product, operation);
  if (algorithm != nullptr) {
    const Layouts layouts(product.n, product.k, product.rows, product.y_stride);
    const float alpha = 1.0f, beta = product.accumulate ? 1.0f : 0.0f;
    device_.Note(ToCuda(cublasLtMatmul(handle_, operation, &alpha, product.w, layouts.w, product.x,
                                       layouts.x, &beta, product.y, layouts.y, product.y, layouts.y,
                                       algorithm, workspace_.Reserve(kWorkspaceBytes),
                                       kWorkspaceBytes, device_.stream())),
                 "cublasLtMatmul");
  }
  cublasLtMatmulDescDestroy(operation);
}

const cublasLtMatmulAlgo_t* Linear::AlgorithmFor(const Product& product,
                                                 cublasLtMatmulDesc_t operation) {
  const bool aligned =
      reinterpret_cast<uintptr_t>(product.y) % 16 == 0 && product.y_stride % 4 == 0;
  const std::tuple key(product.n, product.k, aligned);
  if (const auto found = algorithms_.find(key); found != algorithms_.end()) return &found->second;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                       &kWorkspaceBytes, sizeof(kWorkspaceBytes));
  const uint32_t no_split = CUBLASLT_REDUCTION_SCHEME_NONE;
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                       &no_split, sizeof(no_split));
  // A stacked matrix may begin at any column of y.
  const uint32_t y_alignment = 4;
  for (const auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    if (!aligned) {
      cublasLtMatmulPreferenceSetAttribute(preference, attribute, &y_alignment,
                                           sizeof(y_alignment));
    }
  }
  const Layouts layouts(product.n, product.k, kAlgorithmRows, product.y_stride);
  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  device_.Note(
      ToCuda(cublasLtMatmulAlgoGetHeuristic(handle_, operation, layouts.w, layouts.x, layouts.y,
                                            layouts.y, preference, 1, &result, &found)),
      "choosing a cuBLASLt algorithm");
  cublasLtMatmulPreferenceDestroy(preference);
  if (found == 0) {
    device_.Note(cudaErrorNotSupported, "cuBLASLt has no algorithm for this product");
    return nullptr;
  }
  return &algorithms_.emplace(key, result.algo).first->second;
}

}  // namespace kvpareto::cuda
