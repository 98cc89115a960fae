#include "engine/model/calibration.h"

namespace kvpareto {

std::span<const kv::StaticRange> Calibration::KeyRanges(int layer) const { return k[layer]; }

std::span<const kv::StaticRange> Calibration::ValueRanges(int layer) const { return v[layer]; }

}  // namespace kvpareto
