// Quantiles of many positive numbers in little memory: logarithmic buckets, 2% wide.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace kvpareto::sim {

class Quantiles {
 public:
  void Add(double value) {
    const double bucket = std::log(std::max(value, kLeast) / kLeast) / kLogWidth;
    ++counts_[std::min(counts_.size() - 1, static_cast<size_t>(bucket))];
    ++count_;
    sum_ += value;
    max_ = std::max(max_, value);
  }
  // The upper end of the bucket that holds it; 0 without values.
  double At(double quantile) const {
    auto left = static_cast<int64_t>(std::ceil(quantile * static_cast<double>(count_)));
    for (size_t i = 0; i < counts_.size() && count_ > 0; ++i) {
      left -= static_cast<int64_t>(counts_[i]);
      if (left > 0) continue;
      return i == 0 ? 0.0 : std::min(max_, kLeast * std::exp(kLogWidth * (i + 1.0)));
    }
    return max_;
  }
  double mean() const { return count_ == 0 ? 0.0 : sum_ / static_cast<double>(count_); }
  double max() const { return max_; }
  uint64_t count() const { return count_; }

 private:
  static constexpr double kLeast = 1e-6;
  static constexpr double kLogWidth = 0.02;

  std::vector<uint64_t> counts_ = std::vector<uint64_t>(1500, 0);  // up to 10^7
  uint64_t count_ = 0;
  double sum_ = 0.0;
  double max_ = 0.0;
};

}  // namespace kvpareto::sim
