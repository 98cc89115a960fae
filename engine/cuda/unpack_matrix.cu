#include "engine/cuda/mma.cuh"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/unpack_matrix.h"

namespace kvpareto::cuda {
namespace {

struct Params {
  float scale = 1.0f;
  float offset = 0.0f;
};
__device__ __forceinline__ Params ParamsOfHalves(ParamKind kind, uint32_t pair) {
  const float2 v = UnpackF16(pair);
  return {v.x, kind == ParamKind::kHalfZero ? -v.x * v.y : v.y};
}
__device__ Params ParamsOf(const PackedMatrix& w, int panel, int row, int col) {
  if (w.format == CodeFormat::kBf16) return {};
  const size_t entry =
      (size_t(panel) * w.groups() + col / w.group) * kPanelRows + row % 8 * 2 + row / 8;
  if (w.param_kind == ParamKind::kFloatOffset) {
    const float2 v = reinterpret_cast<const float2*>(w.params)[entry];
    return {v.x, v.y};
  }
  return ParamsOfHalves(w.param_kind, reinterpret_cast<const uint32_t*>(w.params)[entry]);
}

// The inverse of pack_matrix.cc, one element at a time.
__device__ float ValueAt(const PackedMatrix& w, int panel, int row, int col) {
  const uint8_t* block = w.codes + (size_t(panel) * w.blocks + col / kBlockCols) * w.block_bytes();
  const int step = col % kBlockCols / kStepCols;
  const StepPlace place = PlaceOf(col % kStepCols);
  const int lane = row % 8 * 4 + place.q, reg = place.column_pair * 2 + row / 8;
  int code;
  if (w.format == CodeFormat::kInt4) {
    const int bit = 4 * reg + 16 * place.half;
    code = block[LaneOffset(0, lane) + 4 * step + bit / 8] >> bit % 8 & 15;
  } else if (w.format == CodeFormat::kInt8) {
    code = block[LaneOffset(step / 2, lane) + 4 * (2 * (step % 2) + reg / 2) + 2 * (reg % 2) +
                 place.half];
  } else {
    const uint8_t* from = block + LaneOffset(step, lane) + 4 * reg + 2 * place.half;
    return __uint_as_float((uint32_t{from[1]} << 8 | from[0]) << 16);
  }
  const Params params = ParamsOf(w, panel, row, col);
  return static_cast<float>(code) * params.scale + params.offset;
}

// One thread per 4 columns of a row.
__global__ void UnpackKernel(PackedMatrix w, int first_panel, int64_t items, uint16_t* to) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= items) return;
  const int quads = w.blocks * kBlockCols / 4;
  const int col = static_cast<int>(i % quads) * 4;
  const int64_t out_row = i / quads;
  const int panel = first_panel + static_cast<int>(out_row / kPanelRows);
  const int row = static_cast<int>(out_row % kPanelRows);
  float v[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) v[j] = col + j < w.cols ? ValueAt(w, panel, row, col + j) : 0.0f;
  *reinterpret_cast<uint2*>(to + out_row * w.blocks * kBlockCols + col) =
      make_uint2(PackBf16(v[0], v[1]), PackBf16(v[2], v[3]));
}

// The same for 4-bit codes with fp16 parameters, a block of 64 columns per warp.
__global__ void UnpackInt4Kernel(PackedMatrix w, int first_panel, int items, uint16_t* to) {
  const int item = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (item >= items) return;
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int panel = item / w.blocks, block = item % w.blocks;
  const size_t from = size_t(first_panel + panel) * w.blocks + block;
  const uint4 raw = LoadStream(w.codes + from * 512 + lane * 16);
  const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
  const int cols = w.blocks * kBlockCols;
#pragma unroll
  for (int s = 0; s < 4; ++s) {
    const int col = block * kBlockCols + s * kStepCols;
    const size_t group = size_t(first_panel + panel) * w.groups() + col / w.group;
    const uint2 params = reinterpret_cast<const uint2*>(w.params)[group * 8 + g];
#pragma unroll
    for (int half_rows = 0; half_rows < 2; ++half_rows) {
      const Params p = ParamsOfHalves(w.param_kind, half_rows == 0 ? params.x : params.y);
      float v[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int reg = j / 2 * 2 + half_rows;
        const int code = words[s] >> (4 * reg + 16 * (j % 2)) & 15;
        v[j] = static_cast<float>(code) * p.scale + p.offset;
      }
      const size_t row = size_t(panel) * kPanelRows + g + 8 * half_rows;
      *reinterpret_cast<uint2*>(to + row * cols + col + 4 * q) =
          make_uint2(PackBf16(v[0], v[1]), PackBf16(v[2], v[3]));
    }
  }
}

__global__ void EmbedKernel(PackedMatrix w, const int32_t* ids, int first_row, float* y) {
  BeginOverlapped();
  const int row = ids[blockIdx.x] - first_row;
  if (row < 0 || row >= w.rows) return;
  for (int c = threadIdx.x; c < w.cols; c += blockDim.x) {
    y[int64_t{blockIdx.x} * w.cols + c] = ValueAt(w, row / kPanelRows, row % kPanelRows, c);
  }
}

__global__ void PadBf16Kernel(const float* x, int64_t items, int cols, int padded, uint16_t* to) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= items) return;
  const int quads = padded / 4;
  const int64_t row = i / quads;
  const int col = static_cast<int>(i % quads) * 4;
  float v[4];
  if (cols % 4 == 0 && col + 4 <= cols) {
    const float4 four = *reinterpret_cast<const float4*>(x + row * cols + col);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  } else {
    for (int j = 0; j < 4; ++j) v[j] = col + j < cols ? x[row * cols + col + j] : 0.0f;
  }
  *reinterpret_cast<uint2*>(to + row * padded + col) =
      make_uint2(PackBf16(v[0], v[1]), PackBf16(v[2], v[3]));
}

unsigned BlocksFor(int64_t items) { return static_cast<unsigned>((items + 255) / 256); }

}  // namespace

void LaunchUnpackPanels(const PackedMatrix& w, int first_panel, int panels, uint16_t* to,
                        LaunchQueue& queue) {
  if (w.format == CodeFormat::kInt4 && w.param_kind != ParamKind::kFloatOffset &&
      w.cols % (2 * kBlockCols) == 0) {
    const int items = panels * w.blocks;
    queue.Add(UnpackInt4Kernel, {BlocksFor(int64_t{items} * 32), 256, 0}, w, first_panel, items,
              to);
    return;
  }
  const int64_t items = int64_t{panels} * kPanelRows * w.blocks * kBlockCols / 4;
  queue.Add(UnpackKernel, {BlocksFor(items), 256, 0}, w, first_panel, items, to);
}

void LaunchEmbed(const PackedMatrix& w, const int32_t* ids, int num_ids, int first_row, float* y,
                 LaunchQueue& queue) {
  if (num_ids > 0) queue.Add(EmbedKernel, {num_ids, 256, 0, true}, w, ids, first_row, y);
}

void LaunchPadBf16(const float* x, int rows, int cols, int padded, uint16_t* to,
                   LaunchQueue& queue) {
  const int64_t items = int64_t{rows} * padded / 4;
  if (items > 0) queue.Add(PadBf16Kernel, {BlocksFor(items), 256, 0}, x, items, cols, padded, to);
}

}  // namespace kvpareto::cuda
