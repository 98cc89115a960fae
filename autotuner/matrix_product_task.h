// What MultiplyTransposed hands to the code of one instruction set.
#pragma once

#include <cstdint>

#include "autotuner/matrix_product.h"

namespace kvpareto::tune {

struct ProductTask {
  const PackedRows* x = nullptr;
  MatrixView w;
  float* y = nullptr;  // [x.rows, w.rows]
};

struct ProductKernel {
  int x_rows = 0;                                                 // of a panel of x
  int w_rows = 0;                                                 // of a panel of w
  void (*run)(const ProductTask& task, int64_t panel) = nullptr;  // one panel of w, all of x
};

ProductKernel Avx2Product();
ProductKernel Avx512Product();

}  // namespace kvpareto::tune
