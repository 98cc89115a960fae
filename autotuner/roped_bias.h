// Rows of observed vectors, and the key bias as it stands in them.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <span>
#include <vector>

namespace kvpareto::tune {

using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstRows = Eigen::Map<const RowMatrix, 0, Eigen::OuterStride<>>;

// Vectors of one head among rows [rows, heads * dim].
inline ConstRows HeadRows(std::span<const float> rows, int heads, int dim, int head) {
  return {rows.data() + static_cast<size_t>(head) * dim,
          static_cast<Eigen::Index>(rows.size() / (static_cast<size_t>(heads) * dim)), dim,
          Eigen::OuterStride<>(static_cast<Eigen::Index>(heads) * dim)};
}

// RoPE_p(b) for consecutive positions. Angles are float(p) * inverse_frequency in float, and pairs
// are (i, i + dim / 2), both as in the engine, so that what is subtracted here is what the engine
// subtracts.
class RopedBias {
 public:
  explicit RopedBias(std::vector<float> inverse_frequency)
      : inverse_frequency_(std::move(inverse_frequency)) {}

  void SetPositions(int64_t first, int count);
  // rows[r] -= RoPE_{first + r}(bias); bias [dim].
  void Subtract(std::span<const float> bias, RowMatrix& rows) const;

 private:
  const std::vector<float> inverse_frequency_;  // [dim / 2]
  int64_t first_ = -1;
  RowMatrix cosine_, sine_;  // [count, dim / 2]
};

}  // namespace kvpareto::tune
