// The table behind AngleView: grows with the longest sequence that has a key bias.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/cpu/angle_view.h"
#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/elementwise.h"

namespace kvpareto::cpu {

// Holds exactly what `rope_angles` gives: a stored key had the bias removed at the angle float(p) *
// f, and at p = 30000 a differently rounded product is another angle by 1e-3.
class AngleTable {
 public:
  explicit AngleTable(const ElementwiseKernels& kernels) : kernels_(kernels) {}

  // Makes positions [0, positions) readable. Other frequencies than last time begin a new table.
  void Cover(std::span<const float> inverse_frequency, int positions);
  // Valid until the next Cover.
  AngleView view() const;
  size_t bytes() const;

 private:
  void AddChunk();

  const ElementwiseKernels& kernels_;
  std::vector<float> inverse_frequency_;  // [head_dim / 2]
  std::vector<AlignedBuffer> chunks_;
  std::vector<const float*> addresses_;  // of chunks_
};

}  // namespace kvpareto::cpu
