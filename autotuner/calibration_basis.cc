#include "autotuner/calibration_basis.h"

namespace kvpareto::tune {
namespace {

constexpr kv::Rotation kRotations[] = {kv::Rotation::kNone, kv::Rotation::kHadamard,
                                       kv::Rotation::kOscar, kv::Rotation::kBalanced};

AffineMap Map(const std::array<Eigen::MatrixXf, 4>& rotations, const Eigen::VectorXf& mean,
              const Basis& basis) {
  AffineMap map{.matrix = &rotations[static_cast<size_t>(basis.rotation)], .offset = mean};
  if (basis.rotation == kv::Rotation::kNone) map.matrix = nullptr;
  if (!basis.center) map.offset.setZero();
  return map;
}

}  // namespace

std::vector<Basis> KeyBases() {
  std::vector<Basis> bases;
  for (bool unbiased : {false, true}) {
    for (bool center : {false, true}) {
      for (kv::Rotation rotation : kRotations) {
        const kv::Transforms transforms{
            .k_rotation = rotation, .k_center = center, .remove_key_bias = unbiased};
        bases.push_back({KeyBasis(transforms), unbiased, center, rotation});
      }
    }
  }
  return bases;
}

std::vector<Basis> ValueBases() {
  std::vector<Basis> bases;
  for (bool center : {false, true}) {
    for (kv::Rotation rotation : kRotations) {
      const kv::Transforms transforms{.v_rotation = rotation, .v_center = center};
      bases.push_back({ValueBasis(transforms), false, center, rotation});
    }
  }
  return bases;
}

AffineMap KeyMap(const HeadFit& fit, const Basis& basis) {
  return Map(fit.key_rotation, basis.unbiased ? fit.key_mean_unbiased : fit.key_mean, basis);
}

AffineMap ValueMap(const HeadFit& fit, const Basis& basis) {
  return Map(fit.value_rotation, fit.value_mean, basis);
}

}  // namespace kvpareto::tune
