#include "engine/cuda/linear.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/cuda/elementwise.h"
#include "engine/cuda/row_ops.h"
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

Activations RowsOf(const Activations& a, int first, int rows) {
  return {a.data + size_t(first) * a.cols * sizeof(float), rows, a.cols};
}

// Gates and what they gate are whole panels of one matrix.
bool CanGate(const DeviceWeight& weight) {
  return weight.matrices().size() == 1 && weight.rows() % (2 * kPanelRows) == 0;
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

bool Linear::ReserveScratch(const ScratchLimits& limits) {
  constexpr int kMaxBatchRows = 32, kMinGroup = 16, kColsUnit = 2 * kBlockCols;
  const size_t cols = (size_t(limits.max_cols) + kColsUnit - 1) / kColsUnit * kColsUnit;
  const size_t panel = kPanelRows * cols * sizeof(uint16_t);
  return packed_x_.Reserve(kMaxBatchRows * cols * sizeof(uint16_t)) != nullptr &&
         packed_sums_.Reserve(kMaxBatchRows * cols / kMinGroup * sizeof(float)) != nullptr &&
         rounded_x_.Reserve(limits.max_prefill_rows * cols * sizeof(uint16_t)) != nullptr &&
         panel_.Reserve(std::max(kPanelBytes, panel)) != nullptr &&
         workspace_.Reserve(kWorkspaceBytes) != nullptr;
}

void Linear::Run(const ProjectArgs& args) {
  const LinearArgs& linear = args.linear;
  const auto& weight = static_cast<const DeviceWeight&>(*linear.weight);
  KVP_CHECK(!weight.is_vector() && linear.x.cols == weight.cols() && linear.y.cols == weight.rows())
      << "x " << linear.x.cols << ", weight " << weight.rows() << " x " << weight.cols() << ", y "
      << linear.y.cols;
  const int decode = linear.split.decode_rows, prefill = linear.split.prefill_rows;
  KVP_CHECK(linear.x.rows == linear.y.rows && decode + prefill == linear.x.rows);
  KVP_CHECK(args.norm.weight == nullptr || args.norm.y.data == linear.x.data);
  KVP_CHECK(args.product.data == nullptr ||
            (linear.y.cols == 2 * args.product.cols && linear.y.rows == args.product.rows));
  RunDecode(args);
  if (prefill == 0) return;
  if (args.norm.weight != nullptr) {
    RmsNormArgs norm = args.norm;
    norm.x = RowsOf(norm.x, decode, prefill);
    norm.y = RowsOf(norm.y, decode, prefill);
    RunRmsNorm(norm, device_.queue());
  }
  RunPrefill(linear, decode, prefill);
  if (args.product.data != nullptr) {
    RunSiluMul(RowsOf(linear.y, decode, prefill), RowsOf(args.product, decode, prefill),
               device_.queue());
  }
}

void Linear::RunDecode(const ProjectArgs& args) {
  const LinearArgs& linear = args.linear;
  const auto& weight = static_cast<const DeviceWeight&>(*linear.weight);
  const bool gated = args.product.data != nullptr && CanGate(weight);
  const int total = linear.split.decode_rows;
  int rows = 0;
  for (int row = 0; row < total; row += rows) {
    rows = total - row;
    for (const PackedMatrix& matrix : weight.matrices()) {
      rows = std::min(rows, rows == 1 ? 1 : PlanOf(matrix, rows, gated).tokens);
    }
    DecodeRows(args, row, rows, gated);
  }
  if (args.product.data != nullptr && !gated && total > 0) {
    RunSiluMul(RowsOf(linear.y, 0, total), RowsOf(args.product, 0, total), device_.queue());
  }
}

// Rows [first_row, first_row + rows), not more than every matrix takes at once.
void Linear::DecodeRows(const ProjectArgs& args, int first_row, int rows, bool gated) {
  const LinearArgs& linear = args.linear;
  const auto& weight = static_cast<const DeviceWeight&>(*linear.weight);
  const auto* bias = static_cast<const DeviceWeight*>(linear.bias);
  const bool normed = args.norm.weight != nullptr;
  const Activations& y = gated ? args.product : linear.y;
  PackRowsParams source{.x = RowOf(normed ? args.norm.x : linear.x, first_row),
                        .tokens = rows,
                        .cols = weight.cols(),
                        .group = -1};
  if (normed) {
    source.norm = {static_cast<const DeviceWeight*>(args.norm.weight)->vector(), args.norm.epsilon};
  }
  int column = 0;
  for (const PackedMatrix& matrix : weight.matrices()) {
    const LinearDecodeParams params{.w = matrix,
                                    .y = const_cast<float*>(RowOf(y, first_row)) + column,
                                    .bias = bias == nullptr ? nullptr : bias->vector() + column,
                                    .tokens = rows,
                                    .y_stride = y.cols,
                                    .accumulate = linear.accumulate,
                                    .gated = gated};
    if (rows == 1) {
      LaunchLinearSingle({params, source.x, source.norm}, device_.queue());
    } else if (!RunBatch(params, source)) {
      return;
    }
    column += matrix.rows;
  }
}

// Packs the rows unless `source` says that the matrix before took them in the same form. False: out
// of memory.
bool Linear::RunBatch(const LinearDecodeParams& linear, PackRowsParams& source) {
  LinearBatchParams params{.linear = linear, .plan = PlanOf(linear.w, linear.tokens, linear.gated)};
  const BatchPlan& plan = params.plan;
  if (source.group != linear.w.group || source.blocks != linear.w.blocks) {
    source.group = linear.w.group;
    source.blocks = linear.w.blocks;
    source.packed =
        reinterpret_cast<uint32_t*>(packed_x_.Reserve(PackedRowsBytes(plan.tokens, linear.w)));
    source.sums =
        reinterpret_cast<float*>(packed_sums_.Reserve(PackedSumsBytes(plan.tokens, linear.w)));
    if (source.packed == nullptr || source.sums == nullptr) return false;
    LaunchPackRows(source, device_.queue());
  }
  params.x = source.packed;
  params.x_sums = source.sums;
  LaunchLinearBatch(params, device_.queue());
  return true;
}

const BatchPlan& Linear::PlanOf(const PackedMatrix& matrix, int rows, bool gated) {
  const int tokens = rows <= 8 ? 8 : rows <= 16 ? 16 : 32;
  const auto [entry, added] = plans_.try_emplace(
      {matrix.format, matrix.param_kind, matrix.group, matrix.rows, matrix.blocks, tokens, gated});
  if (added) entry->second = PlanBatch(matrix, tokens, gated, device_.queue());
  return entry->second;
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
