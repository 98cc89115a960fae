#include "engine/kv/transform.h"

#include <array>
#include <cstddef>

namespace kvpareto::kv {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"none", "hadamard", "oscar", "balanced"};

}  // namespace

std::string_view RotationName(Rotation rotation) { return kNames[static_cast<size_t>(rotation)]; }

std::optional<Rotation> FindRotation(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Rotation>(i);
  }
  return std::nullopt;
}

}  // namespace kvpareto::kv
