#include "engine/model/kv_transforms.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace kvpareto {
namespace {

// Calls fn(name) for every tensor that the spec uses.
template <typename Fn>
absl::Status ForNeededTensors(const TransformSpec& spec, Fn&& fn) {
  const kv::Transforms& t = spec.transforms;
  std::vector<std::string> names;
  if (t.remove_key_bias) names.push_back("key_bias");
  if (t.k_center) names.push_back(t.remove_key_bias ? "key_mean_unbiased" : "key_mean");
  if (t.v_center) names.push_back("value_mean");
  const auto rotation = [&](const char* prefix, kv::Rotation r) {
    if (r == kv::Rotation::kOscar || r == kv::Rotation::kBalanced) {
      names.push_back(prefix + std::string(kv::RotationName(r)));
    }
  };
  rotation("key_rotation.", t.k_rotation);
  rotation("value_rotation.", t.v_rotation);
  for (const kv::LayerCodecs& codecs : spec.codecs) {
    const auto codec = [&](const std::string& role, kv::CodecId id, const std::string& basis,
                           const kv::Clip& clip) {
      const kv::CodecInfo& info = kv::GetCodecInfo(id);
      if (info.needs_static_range) names.push_back(role + "_range." + basis);
      if (clip.calibrated && info.bits < 16 && !info.needs_static_range) {
        names.push_back(role + "_clip." + basis + "." + std::string(info.name));
      }
    };
    codec("k", codecs.k, KeyBasis(t), t.k_clip);
    codec("v", codecs.v, ValueBasis(t), t.v_clip);
  }
  for (const std::string& name : names) KVP_RETURN_IF_ERROR(fn(name));
  return absl::OkStatus();
}

// Ranges and clips of one role for one layer, appended.
void AppendRanges(const std::string& role, const std::string& basis, kv::CodecId codec,
                  const kv::Clip& clip, int kv_heads, int layer, const Calibration* calibration,
                  std::vector<kv::StaticRange>& ranges) {
  const kv::CodecInfo& info = kv::GetCodecInfo(codec);
  std::span<const float> clips, limits;
  if (info.needs_static_range) {
    limits = calibration->LayerSlice(role + "_range." + basis, layer);
  } else if (clip.calibrated && info.bits < 16) {
    clips = calibration->LayerSlice(role + "_clip." + basis + "." + std::string(info.name), layer);
  }
  for (int head = 0; head < kv_heads; ++head) {
    kv::StaticRange range;
    if (!limits.empty()) {
      range.min = limits[2 * head];
      range.max = limits[2 * head + 1];
    }
    range.clip = !clips.empty() ? clips[head] : clip.calibrated ? 1.0f : clip.ratio;
    ranges.push_back(range);
  }
}

}  // namespace

absl::Status CheckCalibrated(const TransformSpec& spec, const Calibration* calibration) {
  return ForNeededTensors(spec, [&](const std::string& name) {
    if (calibration != nullptr && calibration->Find(name) != nullptr) return absl::OkStatus();
    return MakeError(absl::StatusCode::kFailedPrecondition, "CALIBRATION_MISSING",
                     absl::StrCat("this KV config needs ", name, ", which ",
                                  calibration == nullptr ? "comes from a calibration file"
                                                         : "the calibration file does not hold",
                                  "; make one with kvpareto-tune calibrate and set the model's "
                                  "calibration file"),
                     {{"tensor", name}});
  });
}

absl::StatusOr<std::shared_ptr<const KvTransforms>> KvTransforms::Create(const TransformSpec& spec,
                                                                         const ModelConfig& model,
                                                                         TransformCache& cache) {
  KVP_RETURN_IF_ERROR(CheckCalibrated(spec, cache.calibration()));
  std::shared_ptr<KvTransforms> result(new KvTransforms);
  result->kv_heads_ = model.kv_heads;
  const kv::Transforms& t = spec.transforms;
  KVP_ASSIGN_OR_RETURN(result->matrices_, cache.Get(t));
  for (int layer = 0; layer < model.layers; ++layer) {
    const kv::LayerCodecs& codecs = spec.codecs[layer];
    AppendRanges("k", KeyBasis(t), codecs.k, t.k_clip, model.kv_heads, layer, cache.calibration(),
                 result->k_ranges_);
    AppendRanges("v", ValueBasis(t), codecs.v, t.v_clip, model.kv_heads, layer, cache.calibration(),
                 result->v_ranges_);
  }
  return std::shared_ptr<const KvTransforms>(std::move(result));
}

std::span<const kv::StaticRange> KvTransforms::KeyRanges(int layer) const {
  return {k_ranges_.data() + static_cast<size_t>(layer) * kv_heads_, size_t(kv_heads_)};
}

std::span<const kv::StaticRange> KvTransforms::ValueRanges(int layer) const {
  return {v_ranges_.data() + static_cast<size_t>(layer) * kv_heads_, size_t(kv_heads_)};
}

}  // namespace kvpareto
