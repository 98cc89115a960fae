// Clip ratios: what share of a group's range to keep so that a codec's square error is least.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "autotuner/calibration_basis.h"
#include "autotuner/calibration_tiles.h"
#include "autotuner/progress.h"
#include "engine/engine.h"

namespace kvpareto::tune {

// Descending, from no clip.
inline constexpr float kClipRatios[] = {1.0f, 0.95f, 0.9f, 0.85f, 0.8f, 0.7f, 0.6f, 0.5f};

// Codecs with more bits keep the whole range: they have codes to spare for the tails.
inline constexpr int kSearchedBits = 4;

// The codecs that a config may clip: those that store scales, if they can store this head size.
std::vector<kv::CodecId> ClippedCodecs(int head_dim);

// Of kClipRatios, the one with the least sum of squared errors over tiles [kBlockTokens, head_dim].
// The sums fall and then rise: the search ends at the first ratio that is no better.
float BestClip(kv::CodecId codec, kv::Role role, std::span<const RowMatrix> tiles);

// "k_clip.BASIS.CODEC" and "v_clip.BASIS.CODEC" for all bases and codecs, on `threads` threads.
std::map<std::string, Calibration::Tensor> SearchClips(const ModelConfig& model,
                                                       const CalibrationFit& fit,
                                                       const TileSample& sample, int threads,
                                                       Progress& progress);

}  // namespace kvpareto::tune
