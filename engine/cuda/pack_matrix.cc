#include "engine/cuda/pack_matrix.h"

#include <algorithm>
#include <atomic>
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

// An entry as its kind keeps it: `bytes` for one number or for two.
void StorePair(const StoredPair& pair, int bytes, bool two, uint8_t* to) {
  const uint16_t values[2] = {pair.first, pair.second};
  const int each = two ? bytes / 2 : bytes;
  for (int i = 0; i < bytes / each; ++i) {
    to[i * each] = static_cast<uint8_t>(values[i] & 255);
    if (each == 2) to[i * each + 1] = static_cast<uint8_t>(values[i] >> 8);
  }
}

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
      shape.param_kind = format->kind;
    }
  }

  void Run() {
    PackedMatrix& shape = to_.shape;
    to_.codes.assign(shape.code_bytes(), 0);
    to_.params.assign(shape.param_bytes(), 0);
    to_.supers.assign(shape.super_bytes(), 0);
    const bool awq = tensor_.type == TensorType::kAwq4;
    ParallelFor(shape.panels(), [&](int panel) { awq ? PackAwqPanel(panel) : PackPanel(panel); });
  }

 private:
  void PackPanel(int panel) {
    const PackedMatrix& shape = to_.shape;
    std::vector<uint8_t> codes(cols_);
    std::vector<float> values(cols_);
    std::vector<StoredPair> groups(shape.groups()), supers(shape.supers_per_row());
    const int rows = std::min(kPanelRows, shape.rows - panel * kPanelRows);
    for (int r = 0; r < rows; ++r) {
      const std::span<const std::byte> row = tensor_.Row(panel * kPanelRows + r);
      const bool floats = shape.format == CodeFormat::kBf16;
      if (floats) {
        DequantizeRow(tensor_.type, row, values);
      } else {
        UnpackRow(tensor_.type, row, codes, groups, supers);
      }
      uint8_t* blocks = to_.codes.data() + size_t(panel) * shape.blocks * shape.block_bytes();
      for (int c = 0; c < cols_; ++c) {
        SetCode(shape.format, r, c % kBlockCols, floats ? FloatToBf16(values[c]) : codes[c],
                blocks + c / kBlockCols * shape.block_bytes());
      }
      for (int g = 0; g < shape.groups() && g * shape.group < cols_; ++g) {
        StoreGroup(panel, g, r, groups[g]);
      }
      if (SuperBytes(shape.param_kind) == 0) continue;
      for (int s = 0; s * kSuperCols < cols_; ++s) StoreSuper(panel, s, r, supers[s]);
    }
  }

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
        StoreGroup(panel, g, r,
                   {rows.scales[from], FloatToF16(static_cast<float>(rows.zeros[from]))});
      }
    }
  }

  void StoreGroup(int panel, int group, int row, const StoredPair& pair) {
    const ParamKind kind = to_.shape.param_kind;
    StorePair(pair, GroupBytes(kind), kind != ParamKind::kSuperZero,
              to_.params.data() + to_.shape.GroupEntry(panel, group, row) * GroupBytes(kind));
  }
  void StoreSuper(int panel, int super_block, int row, const StoredPair& pair) {
    const ParamKind kind = to_.shape.param_kind;
    StorePair(pair, SuperBytes(kind), kind != ParamKind::kSuperZero,
              to_.supers.data() + to_.shape.SuperEntry(panel, super_block, row) * SuperBytes(kind));
  }

  const TensorView& tensor_;
  HostMatrix& to_;
  const int cols_;
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
  matrix.supers.insert(matrix.supers.end(), next.supers.begin(), next.supers.end());
}

}  // namespace kvpareto::cuda
