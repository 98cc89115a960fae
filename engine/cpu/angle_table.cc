#include "engine/cpu/angle_table.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/cpu/attention_task.h"

namespace kvpareto::cpu {

void AngleTable::Cover(std::span<const float> inverse_frequency, int positions) {
  KVP_CHECK(2 * inverse_frequency.size() <= kMaxHeadDim);
  if (!std::ranges::equal(inverse_frequency, inverse_frequency_)) {
    inverse_frequency_.assign(inverse_frequency.begin(), inverse_frequency.end());
    chunks_.clear();
    addresses_.clear();
  }
  while (static_cast<int>(chunks_.size()) * kAngleChunkPositions < positions) AddChunk();
}

void AngleTable::AddChunk() {
  const int pairs = static_cast<int>(inverse_frequency_.size());
  const int first = static_cast<int>(chunks_.size()) * kAngleChunkPositions;
  AlignedBuffer& chunk = chunks_.emplace_back();
  chunk.Reserve(sizeof(float) * 2 * pairs * kAngleChunkPositions);
  addresses_.push_back(chunk.as<float>());
  for (int i = 0; i < kAngleChunkPositions; ++i) {
    float cosine[kMaxHeadDim], sine[kMaxHeadDim];
    kernels_.rope_angles(first + i, inverse_frequency_.data(), pairs, cosine, sine);
    float* const group =
        chunk.as<float>() + static_cast<size_t>(i / kAnglePositions) * 2 * pairs * kAnglePositions;
    for (int c = 0; c < pairs; ++c) {
      group[c * kAnglePositions + i % kAnglePositions] = cosine[c];
      group[(c + pairs) * kAnglePositions + i % kAnglePositions] = sine[c];
    }
  }
}

AngleView AngleTable::view() const {
  return {.chunks = addresses_.data(), .head_dim = 2 * static_cast<int>(inverse_frequency_.size())};
}

size_t AngleTable::bytes() const {
  size_t bytes = (chunks_.capacity() * sizeof(AlignedBuffer)) +
                 addresses_.capacity() * sizeof(const float*) +
                 inverse_frequency_.capacity() * sizeof(float);
  for (const AlignedBuffer& chunk : chunks_) bytes += chunk.bytes();
  return bytes;
}

}  // namespace kvpareto::cpu
