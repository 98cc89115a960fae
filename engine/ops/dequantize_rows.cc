#include "engine/ops/dequantize_rows.h"

#include <algorithm>
#include <span>

#include "engine/base/check.h"
#include "engine/base/float16.h"
#include "engine/ops/awq_rows.h"
#include "engine/ops/dequantize.h"

namespace kvpareto {
namespace {

// Of kAwq4, whose unpacked codes are twice as large as the file's: so many rows at a time.
constexpr int64_t kAwqRowsAtOnce = 64;

void DequantizeAwq(const TensorView& tensor, int64_t first_row, std::span<float> out) {
  const int64_t cols = tensor.cols(), group_cols = tensor.awq.group_cols;
  const AwqRows rows = UnpackAwqRows(tensor, first_row, static_cast<int>(out.size() / cols));
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t group = i / cols * rows.groups + i % cols / group_cols;
    out[i] = F16ToFloat(rows.scales[group]) * static_cast<float>(rows.codes[i] - rows.zeros[group]);
  }
}

}  // namespace

std::vector<float> DequantizeRows(const TensorView& tensor, int64_t first_row, int64_t num_rows) {
  const int64_t cols = tensor.cols();
  std::vector<float> values(num_rows * cols);
  const std::span<float> out(values);
  if (tensor.type == TensorType::kAwq4) {
    for (int64_t r = 0; r < num_rows; r += kAwqRowsAtOnce) {
      const int64_t count = std::min(kAwqRowsAtOnce, num_rows - r);
      DequantizeAwq(tensor, first_row + r, out.subspan(r * cols, count * cols));
    }
  } else if (tensor.shape.size() == 1 && tensor.interleaved_head_dim > 0) {
    TensorView column = tensor;  // the elements of a bias follow the order of the matrix's rows
    column.shape = {cols, 1};
    for (int64_t c = 0; c < cols; ++c) {
      DequantizeRow(column.type, column.Row(c), out.subspan(c, 1));
    }
  } else {
    for (int64_t r = 0; r < num_rows; ++r) {
      DequantizeRow(tensor.type, tensor.Row(first_row + r), out.subspan(r * cols, cols));
    }
  }
  return values;
}

std::vector<float> DequantizeAll(const TensorView& tensor) {
  return DequantizeRows(tensor, 0, tensor.rows());
}

}  // namespace kvpareto
