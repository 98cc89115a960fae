#include "autotuner/matrix_product_kernel.h"

namespace kvpareto::tune {

ProductKernel Avx512Product() {
  using Kernel = TileKernel<16, 12>;
  return {Kernel::kXRows, Kernel::kWRows, Kernel::Run};
}

}  // namespace kvpareto::tune
