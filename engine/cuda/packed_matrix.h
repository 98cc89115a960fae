// How a weight matrix lies in device memory: in the order in which tensor cores take it.
//
// 16 rows are a panel; a panel is cut into blocks of 64 columns, a block into four steps of 16. A
// step is the A operand of one mma.m16n8k16: lane l = 4 g + q of a warp holds rows g and g + 8,
// columns 4 q .. 4 q + 3 of the step (which columns stand where in a step is free, as long as the
// activations agree). Its four registers, each two neighbouring columns (low half first):
//   0: row g, columns 4q, 4q+1     1: row g + 8, the same
//   2: row g, columns 4q+2, 4q+3   3: row g + 8, the same
// A lane's part of a block is one 16-byte load for 4-bit codes, two for 8-bit codes and four for
// bf16, each warp-wide load 512 contiguous bytes:
//   4 bits:  word s is step s; register r in bits 4r (low half) and 16 + 4r (high half)
//   8 bits:  load v has steps 2v and 2v+1; word 2 (s % 2) + c of registers 2c (bytes 0, 1) and
//            2c + 1 (bytes 2, 3)
//   bf16:    load s is step s; word r is register r
//
// A value is code * scale + offset, with one (scale, offset) per row and group of columns, kept as
// ParamKind says: an entry per group, and for some kinds another one per super-block of 256
// columns. A unit is what kernels take at a time: two blocks of 4-bit codes, else one. What a lane
// needs of a unit is contiguous:
//   groups:        [panel][unit][row % 8][group of the unit][row / 8]
//   super-blocks:  [panel][super-block][row % 8][row / 8]
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpareto::cuda {

inline constexpr int kPanelRows = 16;
inline constexpr int kBlockCols = 64;
inline constexpr int kStepCols = 16;

enum class CodeFormat : uint8_t { kBf16, kInt4, kInt8 };

// How the parameters of a group are kept: the numbers that the model file has, so that none is
// rounded.
enum class ParamKind : uint8_t {
  kHalfOffset,  // scale and offset as fp16
  kHalfZero,    // scale and zero as fp16: offset = -scale * zero
  // Q4_K, Q5_K: a group has a scale and a minimum as bytes, a super-block has what both are
  // multiples of as fp16: scale = d * s, offset = -d_minimum * m.
  kSuperOffset,
  // Q6_K: a group has a scale s + 128 as a byte, a super-block d as fp16: scale = d * s,
  // offset = -32 * scale.
  kSuperZero,
};
inline constexpr int kSuperCols = 256;

// Of one row.
constexpr int GroupBytes(ParamKind kind) {
  return kind == ParamKind::kSuperOffset ? 2 : kind == ParamKind::kSuperZero ? 1 : 4;
}
constexpr int SuperBytes(ParamKind kind) {
  return kind == ParamKind::kSuperOffset ? 4 : kind == ParamKind::kSuperZero ? 2 : 0;
}

constexpr int CodeBits(CodeFormat format) {
  return format == CodeFormat::kBf16 ? 16 : format == CodeFormat::kInt4 ? 4 : 8;
}

constexpr int UnitBlocks(CodeFormat format) { return format == CodeFormat::kInt4 ? 2 : 1; }

// A view; plain data for kernels.
struct PackedMatrix {
  CodeFormat format = CodeFormat::kBf16;
  ParamKind param_kind = ParamKind::kHalfOffset;
  int rows = 0;
  int cols = 0;
  int blocks = 0;  // of columns, an even number; those past `cols` are zero
  int group = 0;   // columns of a group: 16, 32, 64 or 128; 0 without groups
  const uint8_t* codes = nullptr;
  const uint8_t* params = nullptr;  // of groups
  const uint8_t* supers = nullptr;  // of super-blocks, for kinds that have them

  constexpr int panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  constexpr int groups() const {
    return group == 0 ? 0 : (blocks * kBlockCols + group - 1) / group;
  }
  constexpr size_t block_bytes() const {
    return size_t{kPanelRows} * kBlockCols * CodeBits(format) / 8;
  }
  constexpr size_t code_bytes() const { return size_t(panels()) * blocks * block_bytes(); }
  constexpr size_t param_bytes() const {
    return size_t(panels()) * groups() * kPanelRows * GroupBytes(param_kind);
  }
  constexpr int supers_per_row() const { return blocks * kBlockCols / kSuperCols; }
  constexpr size_t super_bytes() const {
    return size_t(panels()) * supers_per_row() * kPanelRows * SuperBytes(param_kind);
  }
  // Where the entry of a row of a panel stands among those of groups and of super-blocks.
  constexpr size_t GroupEntry(int panel, int of_group, int row) const {
    const int per_unit = UnitBlocks(format) * kBlockCols / group;
    const size_t unit_first = size_t(panel) * groups() + of_group / per_unit * per_unit;
    return unit_first * kPanelRows + (row % 8 * per_unit + of_group % per_unit) * 2 + row / 8;
  }
  constexpr size_t SuperEntry(int panel, int super_block, int row) const {
    return (size_t(panel) * supers_per_row() + super_block) * kPanelRows + row % 8 * 2 + row / 8;
  }
};

// Where a lane's part of load `v` of a block begins, in bytes inside the block.
constexpr size_t LaneOffset(int load, int lane) { return size_t(load) * 512 + size_t(lane) * 16; }

// Column `col` of a step stands at register half `half` (0, 1) of lane quarter q.
struct StepPlace {
  int q = 0;
  int column_pair = 0;  // 0: registers 0 and 1, 1: registers 2 and 3
  int half = 0;
};
constexpr StepPlace PlaceOf(int col) { return {col / 4, col % 4 / 2, col % 2}; }

}  // namespace kvpareto::cuda
