#include "autotuner/matrix_product_kernel.h"

namespace kvpareto::tune {

ProductKernel Avx2Product() {
  using Kernel = TileKernel<8, 6>;
  return {Kernel::kXRows, Kernel::kWRows, Kernel::Run};
}

}  // namespace kvpareto::tune
