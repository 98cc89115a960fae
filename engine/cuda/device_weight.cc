#include "engine/cuda/device_weight.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/cuda/pack_matrix.h"
#include "engine/ops/dequantize.h"

namespace kvpareto::cuda {
namespace {

absl::Status ShapeError(const TensorView& tensor, std::string_view what) {
  return MakeError(absl::StatusCode::kUnimplemented, "WEIGHT_SHAPE",
                   absl::StrCat("tensor ", tensor.name, ": ", std::string(what)),
                   {{"tensor", tensor.name}});
}

absl::Status CheckTensor(const TensorView& tensor, int64_t cols, bool vector) {
  if (tensor.shape.empty() || tensor.shape.size() > 2) {
    return ShapeError(tensor, "neither a vector nor a matrix");
  }
  if (vector != (tensor.shape.size() == 1)) return ShapeError(tensor, "vector among matrices");
  constexpr int64_t kMax = std::numeric_limits<int>::max() / 64;
  if (tensor.rows() < 1 || tensor.cols() < 1 || tensor.rows() > kMax || tensor.cols() > kMax) {
    return ShapeError(tensor, "empty or too large");
  }
  if (!vector && tensor.cols() != cols) return ShapeError(tensor, "stacked on another width");
  if (tensor.cols() % GetTensorTypeInfo(tensor.type).block_elements != 0 ||
      tensor.data.size() < tensor.row_bytes() * tensor.rows()) {
    return ShapeError(tensor, "not whole blocks");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceWeight>> DeviceWeight::Load(
    std::span<const TensorView> stacked, Device& device) {
  KVP_CHECK(!stacked.empty());
  const bool vector = stacked[0].shape.size() == 1;
  for (const TensorView& tensor : stacked) {
    KVP_RETURN_IF_ERROR(CheckTensor(tensor, stacked[0].cols(), vector));
  }
  std::unique_ptr<DeviceWeight> weight(new DeviceWeight);
  if (vector) {
    KVP_RETURN_IF_ERROR(weight->LoadVectors(stacked, device));
    return weight;
  }
  weight->cols_ = static_cast<int>(stacked[0].cols());
  for (const TensorView& tensor : stacked) {
    KVP_RETURN_IF_ERROR(weight->LoadMatrix(tensor, device));
  }
  return weight;
}

absl::Status DeviceWeight::LoadVectors(std::span<const TensorView> stacked, Device& device) {
  std::vector<float> values;
  for (const TensorView& tensor : stacked) {
    const size_t begin = values.size();
    values.resize(begin + tensor.cols());
    const std::span<float> out = std::span(values).subspan(begin);
    if (tensor.interleaved_head_dim == 0) {
      DequantizeRow(tensor.type, tensor.data.first(tensor.row_bytes()), out);
      continue;
    }
    if (GetTensorTypeInfo(tensor.type).block_elements != 1) {
      return ShapeError(tensor, "reordered vector of blocks");
    }
    // The elements of a bias follow the order of the matrix's rows.
    TensorView column = tensor;
    column.shape = {tensor.cols(), 1};
    for (int64_t r = 0; r < column.rows(); ++r) {
      DequantizeRow(column.type, column.Row(r), out.subspan(r, 1));
    }
  }
  rows_ = 1;
  cols_ = static_cast<int>(values.size());
  KVP_ASSIGN_OR_RETURN(auto memory, DeviceMemory::Create(values.size() * sizeof(float)));
  device.CopyFromHost(memory->data(), values.data(), memory->bytes());
  memory_.push_back(std::move(memory));
  return device.Synchronize();
}

absl::Status DeviceWeight::LoadMatrix(const TensorView& tensor, Device& device) {
  const HostMatrix host = PackMatrix(tensor);
  PackedMatrix matrix = host.shape;
  KVP_ASSIGN_OR_RETURN(auto memory, DeviceMemory::Create(host.codes.size() + host.params.size()));
  device.CopyFromHost(memory->data(), host.codes.data(), host.codes.size());
  device.CopyFromHost(memory->data() + host.codes.size(), host.params.data(), host.params.size());
  KVP_RETURN_IF_ERROR(device.Synchronize());
  matrix.codes = reinterpret_cast<const uint8_t*>(memory->data());
  matrix.params = matrix.codes + host.codes.size();
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
  weight->memory_.push_back(std::move(memory));
  return weight;
}

size_t DeviceWeight::resident_bytes() const {
  size_t bytes = 0;
  for (const auto& memory : memory_) bytes += memory->bytes();
  return bytes;
}

}  // namespace kvpareto::cuda
