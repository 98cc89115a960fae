#include "engine/cuda/overlap.cuh"
#include "engine/cuda/unpack_matrix.h"
#include "engine/cuda/weight_format.cuh"

namespace kvpareto::cuda {
namespace {

// Panels [first_panel, ...) as bf16, a block of 64 columns per warp.
template <typename Format>
__global__ void UnpackKernel(PackedMatrix w, int first_panel, int items, uint16_t* to) {
  using C = typename Format::C;
  const int item = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (item >= items) return;
  const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int panel = item / w.blocks, block = item % w.blocks;
  const uint8_t* const codes =
      w.codes + (size_t(first_panel + panel) * w.blocks + block) * w.block_bytes();
  uint4 raw[C::kLoads];
#pragma unroll
  for (int v = 0; v < C::kLoads; ++v) raw[v] = LoadStream(codes + LaneOffset(v, lane));
  const int cols = w.blocks * kBlockCols;
#pragma unroll
  for (int s = 0; s < kBlockCols / kStepCols; ++s) {
    const int col = block * kBlockCols + s * kStepCols;
    uint32_t pairs[4];
    C::Step(raw, s, pairs);
    GroupPair params;
    if constexpr (Format::kHasParams) {
      params = LoadGroupPair<Format>(w, first_panel + panel, col, g);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint2 quad = make_uint2(pairs[half], pairs[half + 2]);
      if constexpr (Format::kHasParams) {
        const auto value = [&](float code) {
          return (code - C::kBias) * params.scale[half] + params.offset[half];
        };
        const float2 a = UnpackBf16(quad.x), b = UnpackBf16(quad.y);
        quad = make_uint2(PackBf16(value(a.x), value(a.y)), PackBf16(value(b.x), value(b.y)));
      }
      const size_t row = size_t(panel) * kPanelRows + g + 8 * half;
      *reinterpret_cast<uint2*>(to + row * cols + col + 4 * q) = quad;
    }
  }
}

// One element: the inverse of pack_matrix.cc.
template <typename Format>
__device__ float ValueAt(const PackedMatrix& w, int panel, int row, int col) {
  const uint8_t* block = w.codes + (size_t(panel) * w.blocks + col / kBlockCols) * w.block_bytes();
  const int step = col % kBlockCols / kStepCols;
  const StepPlace place = PlaceOf(col % kStepCols);
  const int lane = row % 8 * 4 + place.q, reg = place.column_pair * 2 + row / 8;
  const auto scaled = [&](int code) {
    const GroupPair params = LoadGroupPair<Format>(w, panel, col, row % 8);
    return static_cast<float>(code) * params.scale[row / 8] + params.offset[row / 8];
  };
  if constexpr (Format::kFormat == CodeFormat::kInt4) {
    const int bit = 4 * reg + 16 * place.half;
    return scaled(block[LaneOffset(0, lane) + 4 * step + bit / 8] >> bit % 8 & 15);
  } else if constexpr (Format::kFormat == CodeFormat::kInt8) {
    return scaled(block[LaneOffset(step / 2, lane) + 4 * (2 * (step % 2) + reg / 2) +
                        2 * (reg % 2) + place.half]);
  } else {
    const uint8_t* from = block + LaneOffset(step, lane) + 4 * reg + 2 * place.half;
    return __uint_as_float((uint32_t{from[1]} << 8 | from[0]) << 16);
  }
}

template <typename Format>
__global__ void EmbedKernel(PackedMatrix w, const int32_t* ids, int first_row, float* y) {
  BeginOverlapped();
  const int row = ids[blockIdx.x] - first_row;
  if (row < 0 || row >= w.rows) return;
  for (int c = threadIdx.x; c < w.cols; c += blockDim.x) {
    y[int64_t{blockIdx.x} * w.cols + c] = ValueAt<Format>(w, row / kPanelRows, row % kPanelRows, c);
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
  const int items = panels * w.blocks;
  VisitWeightFormat(w, [&](auto format) {
    queue.Add(UnpackKernel<decltype(format)>, {BlocksFor(int64_t{items} * 32), 256, 0}, w,
              first_panel, items, to);
  });
}

void LaunchEmbed(const PackedMatrix& w, const int32_t* ids, int num_ids, int first_row, float* y,
                 LaunchQueue& queue) {
  if (num_ids == 0) return;
  VisitWeightFormat(w, [&](auto format) {
    queue.Add(EmbedKernel<decltype(format)>, {num_ids, 256, 0, true}, w, ids, first_row, y);
  });
}

void LaunchPadBf16(const float* x, int rows, int cols, int padded, uint16_t* to,
                   LaunchQueue& queue) {
  const int64_t items = int64_t{rows} * padded / 4;
  if (items > 0) queue.Add(PadBf16Kernel, {BlocksFor(items), 256, 0}, x, items, cols, padded, to);
}

}  // namespace kvpareto::cuda
