#include "engine/ops/stacked_tensors.h"

#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/ops/dequantize.h"

namespace kvpareto {
namespace {

absl::Status ShapeError(const TensorView& tensor, const char* what) {
  return MakeError(absl::StatusCode::kUnimplemented, "WEIGHT_SHAPE",
                   absl::StrCat("tensor ", tensor.name, ": ", what), {{"tensor", tensor.name}});
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
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> JoinVectors(std::span<const TensorView> stacked) {
  std::vector<float> values;
  for (const TensorView& tensor : stacked) {
    const size_t begin = values.size();
    values.resize(begin + tensor.cols());
    const std::span<float> out = std::span(values).subspan(begin);
    if (tensor.interleaved_head_dim == 0) {
      DequantizeRow(tensor.type, tensor.data.first(tensor.row_bytes()), out);
      continue;
    }
    // The elements of a bias follow the order of the matrix's rows.
    if (GetTensorTypeInfo(tensor.type).block_elements != 1) {
      return ShapeError(tensor, "reordered vector of blocks");
    }
    TensorView column = tensor;
    column.shape = {tensor.cols(), 1};
    for (int64_t r = 0; r < column.rows(); ++r) {
      DequantizeRow(column.type, column.Row(r), out.subspan(r, 1));
    }
  }
  return values;
}

}  // namespace kvpareto
