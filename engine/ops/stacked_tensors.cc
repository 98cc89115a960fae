#include "engine/ops/stacked_tensors.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/ops/dequantize_rows.h"

namespace kvpareto {
namespace {

absl::Status ShapeError(const TensorView& tensor, const char* what) {
  return MakeError(absl::StatusCode::kUnimplemented, "WEIGHT_SHAPE",
                   absl::StrCat("tensor ", tensor.name, ": ", what), {{"tensor", tensor.name}});
}

// Whether the parts of a kAwq4 matrix are as AwqGroups says.
bool IsWholeAwq(const TensorView& tensor) {
  const int64_t group = tensor.awq.group_cols;
  if (group < 32 || group % 32 != 0 || tensor.cols() % group != 0) return false;
  const size_t elements = tensor.cols() / group * tensor.rows();
  return tensor.shape.size() == 2 && tensor.interleaved_head_dim == 0 &&
         tensor.rows() % kAwqWordRows == 0 && tensor.awq.zeros.size() >= elements / 2 &&
         tensor.awq.scales.size() >= elements * 2;
}

}  // namespace

absl::Status CheckStackedTensors(std::span<const TensorView> stacked) {
  const bool vector = stacked[0].shape.size() == 1;
  for (const TensorView& tensor : stacked) {
    if (tensor.shape.empty() || tensor.shape.size() > 2) {
      return ShapeError(tensor, "neither a vector nor a matrix");
    }
    if (vector != (tensor.shape.size() == 1)) return ShapeError(tensor, "vector among matrices");
    constexpr int64_t kMax = std::numeric_limits<int>::max() / 64;
    if (tensor.rows() < 1 || tensor.cols() < 1 || tensor.rows() > kMax || tensor.cols() > kMax) {
      return ShapeError(tensor, "empty or too large");
    }
    if (!vector && tensor.cols() != stacked[0].cols()) {
      return ShapeError(tensor, "stacked on another width");
    }
    if (tensor.cols() % GetTensorTypeInfo(tensor.type).block_elements != 0 ||
        tensor.data.size() < tensor.row_bytes() * tensor.rows()) {
      return ShapeError(tensor, "not whole blocks");
    }
    if (tensor.type == TensorType::kI32 ||
        (tensor.type == TensorType::kAwq4 && !IsWholeAwq(tensor))) {
      return ShapeError(tensor, "no matrix of whole groups");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> JoinVectors(std::span<const TensorView> stacked) {
  std::vector<float> values;
  for (const TensorView& tensor : stacked) {
    if (tensor.interleaved_head_dim > 0 && GetTensorTypeInfo(tensor.type).block_elements != 1) {
      return ShapeError(tensor, "reordered vector of blocks");
    }
    const std::vector<float> vector = DequantizeAll(tensor);
    values.insert(values.end(), vector.begin(), vector.end());
  }
  return values;
}

}  // namespace kvpareto
