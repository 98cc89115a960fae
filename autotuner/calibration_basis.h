// The transform chains whose results are measured: what a codec is given under a KV config.
#pragma once

#include <Eigen/Core>
#include <string>
#include <vector>

#include "autotuner/calibration_fit.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct Basis {
  std::string name;  // as in tensor names: KeyBasis, ValueBasis
  bool unbiased = false;
  bool center = false;
  kv::Rotation rotation = kv::Rotation::kNone;
};

// All that a config can form.
std::vector<Basis> KeyBases();
std::vector<Basis> ValueBases();

// The matrix (null: none) and what is subtracted before it.
struct AffineMap {
  const Eigen::MatrixXf* matrix = nullptr;
  Eigen::VectorXf offset;  // [head_dim], 0 when nothing is
};

// Of keys (whose bias is removed already where the basis says so), or of values.
AffineMap KeyMap(const HeadFit& fit, const Basis& basis);
AffineMap ValueMap(const HeadFit& fit, const Basis& basis);

}  // namespace kvpareto::tune
