#include "engine/cuda/row_ops.h"

#include "engine/base/check.h"
#include "engine/cuda/device_weight.h"
#include "engine/cuda/elementwise.h"

namespace kvpareto::cuda {
namespace {

float* Floats(const Activations& a) { return reinterpret_cast<float*>(a.data); }

const float* VectorOf(const Weight* weight) {
  const auto* vector = static_cast<const DeviceWeight*>(weight);
  KVP_CHECK(vector != nullptr && vector->is_vector());
  return vector->vector();
}

}  // namespace

void RunRmsNorm(const RmsNormArgs& args, LaunchQueue& queue) {
  const bool grouped = args.group_cols != 0;
  RmsNormParams params{.x = Floats(args.x),
                       .weight = VectorOf(args.weight),
                       .y = Floats(args.y),
                       .rows = args.x.rows,
                       .cols = args.x.cols,
                       .group = grouped ? args.group_cols : args.x.cols,
                       .first = grouped ? args.first_col : 0,
                       .last = grouped && args.last_col != 0 ? args.last_col : args.x.cols,
                       .epsilon = args.epsilon};
  KVP_CHECK(args.weight->cols() == params.group &&
            (params.last - params.first) % params.group == 0 && args.y.cols == args.x.cols &&
            args.y.rows == args.x.rows);
  LaunchRmsNorm(params, queue);
}

void RunSiluMul(Activations x, Activations y, LaunchQueue& queue) {
  KVP_CHECK(x.cols == 2 * y.cols && x.rows == y.rows);
  LaunchSiluMul(Floats(x), Floats(y), y.rows, y.cols, queue);
}

}  // namespace kvpareto::cuda
