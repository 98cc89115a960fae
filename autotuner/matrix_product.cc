#include "autotuner/matrix_product.h"

#include "autotuner/matrix_product_kernel.h"
#include "autotuner/parallel.h"

namespace kvpareto::tune {
namespace {

ProductKernel Choose() {
  using Kernel = TileKernel<4, 4>;
  if (__builtin_cpu_supports("avx512f")) return Avx512Product();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2Product();
  return {Kernel::kXRows, Kernel::kWRows, Kernel::Run};
}

const ProductKernel& Kernel() {
  static const ProductKernel kernel = Choose();
  return kernel;
}

}  // namespace

PackedRows::PackedRows(MatrixView x)
    : rows_(x.rows),
      cols_(x.cols),
      panel_rows_(Kernel().x_rows),
      values_(panels() * panel_rows_ * cols_) {
  for (int64_t r = 0; r < rows_; ++r) {
    float* to = values_.data() + r / panel_rows_ * panel_rows_ * cols_ + r % panel_rows_;
    const float* from = x.row(r);
    for (int64_t c = 0; c < cols_; ++c) to[c * panel_rows_] = from[c];
  }
}

void MultiplyTransposed(const PackedRows& x, MatrixView w, float* y, int threads) {
  const ProductKernel& kernel = Kernel();
  const ProductTask task{.x = &x, .w = w, .y = y};
  const int panels = static_cast<int>((w.rows + kernel.w_rows - 1) / kernel.w_rows);
  ParallelFor(panels, threads, [&](int panel) { kernel.run(task, panel); });
}

}  // namespace kvpareto::tune
