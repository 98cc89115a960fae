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
// ParamKind says. They stand by [panel][group][16], entry 2 g for row g, 2 g + 1 for row g + 8.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpareto::cuda {

inline constexpr int kPanelRows = 16;
inline constexpr int kBlockCols = 64;
inline constexpr int kStepCols = 16;

enum class CodeFormat : uint8_t { kBf16, kInt4, kInt8 };

// How the parameters of a group are kept, each exactly.
enum class ParamKind : uint8_t {
  kHalfOffset,   // scale and offset as fp16
  kHalfZero,     // scale and zero as fp16: offset = -scale * zero
  kFloatOffset,  // scale and offset as floats
};

constexpr int CodeBits(CodeFormat format) {
  return format == CodeFormat::kBf16 ? 16 : format == CodeFormat::kInt4 ? 4 : 8;
}

// A view; plain data for kernels.
struct PackedMatrix {
  CodeFormat format = CodeFormat::kBf16;
  ParamKind param_kind = ParamKind::kHalfOffset;
  int rows = 0;
  int cols = 0;
  int blocks = 0;  // of columns, an even number; those past `cols` are zero
  int group = 0;   // columns of a group: 16, 32, 64 or 128; 0 without groups
  const uint8_t* codes = nullptr;
  const uint8_t* params = nullptr;

  constexpr int panels() const { return (rows + kPanelRows - 1) / kPanelRows; }
  constexpr int groups() const {
    return group == 0 ? 0 : (blocks * kBlockCols + group - 1) / group;
  }
  constexpr size_t block_bytes() const {
    return size_t{kPanelRows} * kBlockCols * CodeBits(format) / 8;
  }
  constexpr size_t code_bytes() const { return size_t(panels()) * blocks * block_bytes(); }
  constexpr size_t param_bytes() const {
    return size_t(panels()) * groups() * kPanelRows *
           (param_kind == ParamKind::kFloatOffset ? 8 : 4);
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
