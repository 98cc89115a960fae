// Row-wise operations as the Backend interface describes them.
#pragma once

#include "engine/cuda/launch_queue.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

void RunRmsNorm(const RmsNormArgs& args, LaunchQueue& queue);
void RunSiluMul(Activations x, Activations y, LaunchQueue& queue);

}  // namespace kvpareto::cuda
