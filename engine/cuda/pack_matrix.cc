#include "engine/cuda/pack_matrix.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "engine/base/float16.h"
#include "engine/cuda/gguf_groups.h"
#include "engine/ops/awq_rows.h"
#include "engine/ops/dequantize.h"

namespace kvpareto::cuda {
namespace {

template <typename Fn>
void ParallelFor(int items, Fn&& fn) {
  const int threads = std::clamp<int>(std::thread::hardware_concurrency(), 1, items);
  std::atomic<int> next = 0;
  const auto work = [&] {
    for (int item = next++; item < items; item = next++) fn(item);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
}

// Lane and register half of an element of a panel.
struct PanelPlace {
  int lane;
  int reg;
  int half;
};
PanelPlace PlaceIn(int row, int step_col) {
  const StepPlace place = PlaceOf(step_col);
  return {row % 8 * 4 + place.q, place.column_pair * 2 + row / 8, place.half};
}

void SetCode(CodeFormat format, int row, int block_col, unsigned value, uint8_t* block) {
  const int step = block_col / kStepCols;
  const PanelPlace place = PlaceIn(row, block_col % kStepCols);
  if (format == CodeFormat::kInt4) {
    const int bit = 4 * place.reg + 16 * place.half;
    block[LaneOffset(0, place.lane) + 4 * step + bit / 8] |= static_cast<uint8_t>(value << bit % 8);
  } else if (format == CodeFormat::kInt8) {
    const int word = 2 * (step % 2) + place.reg / 2;
    block[LaneOffset(step / 2, place.lane) + 4 * word + 2 * (place.reg % 2) + place.half] =
        static_cast<uint8_t>(value);
  } else {
    uint8_t* to = block + LaneOffset(step, place.lane) + 4 * place.reg + 2 * place.half;
    to[0] = static_cast<uint8_t>(value & 255);
    to[1] = static_cast<uint8_t>(value >> 8);
  }
}

bool FitsF16(float x) { return F16ToFloat(FloatToF16(x)) == x; }

// One tensor on its way into panels.
class Packer {
 public:
  Packer(const TensorView& tensor, HostMatrix& to)
      : tensor_(tensor), to_(to), cols_(static_cast<int>(tensor.cols())) {
    PackedMatrix& shape = to_.shape;
    shape.rows = static_cast<int>(tensor.rows());
    shape.cols = cols_;
    shape.blocks = (cols_ + 2 * kBlockCols - 1) / (2 * kBlockCols) * 2;
    if (tensor.type == TensorType::kAwq4) {
      shape.format = CodeFormat::kInt4;
      shape.group = AwqKernelGroup(tensor);
      shape.param_kind = ParamKind::kHalfZero;
    } else if (const auto format = GroupFormatOf(tensor.type)) {
      shape.format = format->bits == 4 ? CodeFormat::kInt4 : CodeFormat::kInt8;
      shape.group = format->group;
    }
  }

  void Run() {
    PackedMatrix& shape = to_.shape;
    to_.codes.assign(shape.code_bytes(), 0);
    params_.assign(size_t(shape.panels()) * shape.groups() * kPanelRows, GroupParams{});
    const bool awq = tensor_.type == TensorType::kAwq4;
    ParallelFor(shape.panels(), [&](int panel) { awq ? PackAwqPanel(panel) : PackPanel(panel); });
    const bool halves = std::all_of(params_.begin(), params_.end(), [](const GroupParams& p) {
      return FitsF16(p.scale) && FitsF16(p.offset);
    });
    if (!awq && !halves) shape.param_kind = ParamKind::kFloatOffset;
    StoreParams();
  }

 private:
  void PackPanel(int panel) {
    const PackedMatrix& shape = to_.shape;
    std::vector<uint8_t> codes(cols_);
    std::vector<float> values(cols_);
    std::vector<GroupParams> params(shape.groups());
    const int rows = std::min(kPanelRows, shape.rows - panel * kPanelRows);
    for (int r = 0; r < rows; ++r) {
      const std::span<const std::byte> row = tensor_.Row(panel * kPanelRows + r);
      const bool floats = shape.format == CodeFormat::kBf16;
      if (floats) {
        DequantizeRow(tensor_.type, row, values);
      } else {
        UnpackRow(tensor_.type, row, codes, params);
      }
      uint8_t* blocks = to_.codes.data() + size_t(panel) * shape.blocks * shape.block_bytes();
      for (int c = 0; c < cols_; ++c) {
        SetCode(shape.format, r, c % kBlockCols, floats ? FloatToBf16(values[c]) : codes[c],
                blocks + c / kBlockCols * shape.block_bytes());
      }
      for (int g = 0; g < shape.groups() && g * shape.group < cols_; ++g) {
        ParamsAt(panel, g, r) = params[g];
      }
    }
  }

  // Parameters are scales and zeros.
  void PackAwqPanel(int panel) {
    const PackedMatrix& shape = to_.shape;
    const int num_rows = std::min(kPanelRows, shape.rows - panel * kPanelRows);
    const AwqRows rows = UnpackAwqRows(tensor_, int64_t{panel} * kPanelRows, num_rows);
    uint8_t* blocks = to_.codes.data() + size_t(panel) * shape.blocks * shape.block_bytes();
    for (int r = 0; r < num_rows; ++r) {
      for (int c = 0; c < cols_; ++c) {
        SetCode(shape.format, r, c % kBlockCols, rows.codes[size_t(r) * cols_ + c],
                blocks + c / kBlockCols * shape.block_bytes());
      }
      for (int g = 0; g * shape.group < cols_; ++g) {
        const size_t from = size_t(r) * rows.groups + g * shape.group / tensor_.awq.group_cols;
        ParamsAt(panel, g, r) = {F16ToFloat(rows.scales[from]),
                                 static_cast<float>(rows.zeros[from])};
      }
    }
  }

  GroupParams& ParamsAt(int panel, int group, int row) {
    const size_t entry = (size_t(panel) * to_.shape.groups() + group) * kPanelRows;
    return params_[entry + row % 8 * 2 + row / 8];
  }

  void StoreParams() {
    to_.params.resize(to_.shape.param_bytes());
    if (to_.shape.param_kind == ParamKind::kFloatOffset) {
      std::memcpy(to_.params.data(), params_.data(), to_.params.size());
      return;
    }
    for (size_t i = 0; i < params_.size(); ++i) {
      const uint16_t pair[2] = {FloatToF16(params_[i].scale), FloatToF16(params_[i].offset)};
      std::memcpy(to_.params.data() + i * sizeof(pair), pair, sizeof(pair));
    }
  }

  const TensorView& tensor_;
  HostMatrix& to_;
  const int cols_;
  std::vector<GroupParams> params_;  // [panels, groups, 16]
};

}  // namespace

HostMatrix PackMatrix(const TensorView& tensor) {
  HostMatrix matrix;
  Packer(tensor, matrix).Run();
  return matrix;
}

bool CanAppend(const HostMatrix& matrix, const HostMatrix& next) {
  const PackedMatrix &a = matrix.shape, &b = next.shape;
  return a.rows % kPanelRows == 0 && a.format == b.format && a.param_kind == b.param_kind &&
         a.cols == b.cols && a.blocks == b.blocks && a.group == b.group;
}

void Append(const HostMatrix& next, HostMatrix& matrix) {
  matrix.shape.rows += next.shape.rows;
  matrix.codes.insert(matrix.codes.end(), next.codes.begin(), next.codes.end());
  matrix.params.insert(matrix.params.end(), next.params.begin(), next.params.end());
}

}  // namespace kvpareto::cuda
