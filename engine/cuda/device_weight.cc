#include "engine/cuda/device_weight.h"

#include <optional>

#include "engine/base/check.h"
#include "engine/ops/dequantize.h"
#include "engine/ops/stacked_tensors.h"

namespace kvpareto::cuda {

absl::StatusOr<std::unique_ptr<DeviceWeight>> DeviceWeight::Load(
    std::span<const TensorView> stacked, Device& device, DevicePool& pool) {
  KVP_CHECK(!stacked.empty());
  const bool vector = stacked[0].shape.size() == 1;
  KVP_RETURN_IF_ERROR(CheckStackedTensors(stacked));
  std::unique_ptr<DeviceWeight> weight(new DeviceWeight);
  if (vector) {
    KVP_RETURN_IF_ERROR(weight->LoadVectors(stacked, device, pool));
    return weight;
  }
  weight->cols_ = static_cast<int>(stacked[0].cols());
  std::optional<HostMatrix> pending;
  for (const TensorView& tensor : stacked) {
    HostMatrix next = PackMatrix(tensor);
    if (pending && CanAppend(*pending, next)) {
      Append(next, *pending);
      continue;
    }
    if (pending) KVP_RETURN_IF_ERROR(weight->LoadMatrix(*pending, device, pool));
    pending = std::move(next);
  }
  KVP_RETURN_IF_ERROR(weight->LoadMatrix(*pending, device, pool));
  return weight;
}

absl::Status DeviceWeight::LoadVectors(std::span<const TensorView> stacked, Device& device,
                                       DevicePool& pool) {
  KVP_ASSIGN_OR_RETURN(const std::vector<float> values, JoinVectors(stacked));
  rows_ = 1;
  cols_ = static_cast<int>(values.size());
  const size_t bytes = values.size() * sizeof(float);
  KVP_ASSIGN_OR_RETURN(DevicePiece memory, pool.Take(bytes));
  device.CopyFromHost(memory.data, values.data(), bytes);
  memory_.push_back(std::move(memory));
  return device.Synchronize();
}

absl::Status DeviceWeight::LoadMatrix(const HostMatrix& host, Device& device, DevicePool& pool) {
  PackedMatrix matrix = host.shape;
  KVP_ASSIGN_OR_RETURN(DevicePiece memory,
                       pool.Take(host.codes.size() + host.params.size() + host.supers.size()));
  std::byte* to = memory.data;
  for (const std::vector<uint8_t>* part : {&host.codes, &host.params, &host.supers}) {
    device.CopyFromHost(to, part->data(), part->size());
    to += part->size();
  }
  KVP_RETURN_IF_ERROR(device.Synchronize());
  matrix.codes = reinterpret_cast<const uint8_t*>(memory.data);
  matrix.params = matrix.codes + host.codes.size();
  matrix.supers = matrix.params + host.params.size();
  rows_ += matrix.rows;
  matrices_.push_back(matrix);
  memory_.push_back(std::move(memory));
  return absl::OkStatus();
}

std::unique_ptr<DeviceWeight> DeviceWeight::FromPacked(const PackedMatrix& matrix,
                                                       std::unique_ptr<DeviceMemory> memory) {
  std::unique_ptr<DeviceWeight> weight(new DeviceWeight);
  weight->rows_ = matrix.rows;
  weight->cols_ = matrix.cols;
  weight->matrices_.push_back(matrix);
  DevicePiece piece = {.data = memory->data(), .resident_bytes = memory->bytes()};
  piece.memory = std::move(memory);
  weight->memory_.push_back(std::move(piece));
  return weight;
}

size_t DeviceWeight::resident_bytes() const {
  size_t bytes = 0;
  for (const DevicePiece& memory : memory_) bytes += memory.resident_bytes;
  return bytes;
}

}  // namespace kvpareto::cuda
