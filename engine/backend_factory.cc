#include "engine/backend_factory.h"

#include "absl/strings/str_cat.h"
#include "engine/cpu/cpu_backend.h"
#ifdef KVPARETO_WITH_CUDA
#include "engine/cuda/cuda_backend.h"
#endif

namespace kvpareto {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> CreateCuda() {
#ifdef KVPARETO_WITH_CUDA
  return CreateCudaBackend();
#else
  return MakeError(absl::StatusCode::kFailedPrecondition, "DEVICE_UNAVAILABLE",
                   "this program was built without CUDA");
#endif
}

constexpr bool kBuiltWithCuda =
#ifdef KVPARETO_WITH_CUDA
    true;
#else
    false;
#endif

}  // namespace

absl::StatusOr<CreatedBackend> CreateBackend(const EngineOptions& options) {
  const std::string& device = options.device;
  if (device != "auto" && device != "cpu" && device != "cuda") {
    return MakeError(absl::StatusCode::kInvalidArgument, "DEVICE_UNKNOWN",
                     absl::StrCat("device '", device, "': expected auto, cpu or cuda"),
                     {{"device", device}});
  }
  CreatedBackend created;
  if (device == "cuda" || (device == "auto" && kBuiltWithCuda)) {
    auto cuda = CreateCuda();
    if (cuda.ok()) {
      created.backend = *std::move(cuda);
      return created;
    }
    if (device == "cuda") {
      return MakeError(absl::StatusCode::kFailedPrecondition, "DEVICE_UNAVAILABLE",
                       std::string(cuda.status().message()), {{"device", device}});
    }
    created.note = absl::StrCat("no CUDA device, running on the CPU: ", cuda.status().message());
  }
  KVP_ASSIGN_OR_RETURN(created.backend,
                       CreateCpuBackend({.threads = options.threads, .isa = options.isa}));
  return created;
}

}  // namespace kvpareto
