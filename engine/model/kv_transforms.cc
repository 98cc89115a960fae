#include "engine/model/kv_transforms.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/model/square_matrix.h"

namespace kvpareto {
namespace {

// Collects [kv_heads, ...] arrays of all layers in host memory, then moves them to the device at
// once. Places are offsets until then.
class DeviceFloats {
 public:
  static constexpr size_t kNone = ~size_t{0};

  size_t Add(std::span<const float> values) {
    const size_t offset = values_.size();
    values_.insert(values_.end(), values.begin(), values.end());
    values_.resize((values_.size() + 31) / 32 * 32);  // arrays start at multiples of 128 bytes
    return offset;
  }

  bool empty() const { return values_.empty(); }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Upload(Backend& backend) const {
    KVP_ASSIGN_OR_RETURN(auto memory, backend.Allocate(values_.size() * sizeof(float)));
    backend.CopyFromHost(memory->data(), values_.data(), values_.size() * sizeof(float));
    KVP_RETURN_IF_ERROR(backend.Synchronize());
    return memory;
  }

 private:
  std::vector<float> values_;
};

// Offsets of a layer's arrays.
struct LayerPlaces {
  size_t key_bias = DeviceFloats::kNone, key_center = DeviceFloats::kNone;
  size_t key_matrix = DeviceFloats::kNone, query_matrix = DeviceFloats::kNone;
  size_t value_center = DeviceFloats::kNone;
  size_t value_matrix = DeviceFloats::kNone, output_matrix = DeviceFloats::kNone;
};

// The layer's part of a calibration tensor.
std::span<const float> LayerSlice(const Calibration& calibration, const std::string& name,
                                  int layer) {
  const Calibration::Tensor& tensor = *calibration.Find(name);
  const size_t size = tensor.values.size() / tensor.shape[0];
  return {tensor.values.data() + layer * size, size};
}

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

// The matrices of all KV heads: A = M^T as stored keys multiply it, and M^-1 for queries (values:
// N^T and N^-T).
struct MatrixPair {
  std::vector<float> forward;   // [kv_heads, in, out]
  std::vector<float> backward;  // [kv_heads, in, out]
};

absl::StatusOr<MatrixPair> ResolveRotation(kv::Rotation rotation, const std::string& prefix,
                                           bool for_values, const ModelConfig& model, int layer,
                                           const Calibration* calibration) {
  const int n = model.head_dim;
  const size_t square = static_cast<size_t>(n) * n;
  MatrixPair pair;
  for (int head = 0; head < model.kv_heads; ++head) {
    SquareMatrix matrix(n);  // M
    if (rotation == kv::Rotation::kHadamard) {
      matrix = BlockHadamard(n);
    } else {
      const std::string name = prefix + std::string(kv::RotationName(rotation));
      const auto values = LayerSlice(*calibration, name, layer).subspan(head * square, square);
      std::copy(values.begin(), values.end(), matrix.values.begin());
    }
    const std::optional<SquareMatrix> inverse = Inverse(matrix);
    if (!inverse.has_value()) {
      return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION_INVALID",
                       absl::StrCat(prefix, std::string(kv::RotationName(rotation)), ": layer ",
                                    layer, " head ", head, " cannot be inverted"));
    }
    const SquareMatrix forward = Transpose(matrix);
    const SquareMatrix backward = for_values ? Transpose(*inverse) : *inverse;
    pair.forward.insert(pair.forward.end(), forward.values.begin(), forward.values.end());
    pair.backward.insert(pair.backward.end(), backward.values.begin(), backward.values.end());
  }
  return pair;
}

bool AllZero(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return x == 0.0f; });
}

absl::StatusOr<LayerPlaces> PlaceLayer(const kv::Transforms& t, const ModelConfig& model, int layer,
                                       const Calibration* calibration, DeviceFloats& floats) {
  LayerPlaces places;
  if (t.remove_key_bias) {
    const auto bias = LayerSlice(*calibration, "key_bias", layer);
    if (!AllZero(bias)) places.key_bias = floats.Add(bias);
  }
  if (t.k_center) {
    const char* name = t.remove_key_bias ? "key_mean_unbiased" : "key_mean";
    places.key_center = floats.Add(LayerSlice(*calibration, name, layer));
  }
  if (t.v_center) places.value_center = floats.Add(LayerSlice(*calibration, "value_mean", layer));
  if (t.k_rotation != kv::Rotation::kNone) {
    KVP_ASSIGN_OR_RETURN(const MatrixPair pair,
                         ResolveRotation(t.k_rotation, "key_rotation.", /*for_values=*/false, model,
                                         layer, calibration));
    places.key_matrix = floats.Add(pair.forward);
    places.query_matrix = floats.Add(pair.backward);
  }
  if (t.v_rotation != kv::Rotation::kNone) {
    KVP_ASSIGN_OR_RETURN(const MatrixPair pair,
                         ResolveRotation(t.v_rotation, "value_rotation.", /*for_values=*/true,
                                         model, layer, calibration));
    places.value_matrix = floats.Add(pair.forward);
    places.output_matrix = floats.Add(pair.backward);
  }
  return places;
}

LayerTransform Resolve(const LayerPlaces& places, const float* base) {
  const auto at = [base](size_t offset) {
    return offset == DeviceFloats::kNone ? nullptr : base + offset;
  };
  return {.key_bias = at(places.key_bias),
          .key_center = at(places.key_center),
          .key_matrix = at(places.key_matrix),
          .query_matrix = at(places.query_matrix),
          .value_center = at(places.value_center),
          .value_matrix = at(places.value_matrix),
          .output_matrix = at(places.output_matrix)};
}

// Ranges and clips of one role for one layer, appended.
void AppendRanges(const std::string& role, const std::string& basis, kv::CodecId codec,
                  const kv::Clip& clip, int kv_heads, int layer, const Calibration* calibration,
                  std::vector<kv::StaticRange>& ranges) {
  const kv::CodecInfo& info = kv::GetCodecInfo(codec);
  std::span<const float> clips, limits;
  if (info.needs_static_range) {
    limits = LayerSlice(*calibration, role + "_range." + basis, layer);
  } else if (clip.calibrated && info.bits < 16) {
    clips = LayerSlice(*calibration, role + "_clip." + basis + "." + std::string(info.name), layer);
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

absl::StatusOr<std::shared_ptr<const KvTransforms>> KvTransforms::Create(
    const TransformSpec& spec, const ModelConfig& model, const Calibration* calibration,
    Backend& backend) {
  KVP_RETURN_IF_ERROR(CheckCalibrated(spec, calibration));
  std::shared_ptr<KvTransforms> result(new KvTransforms);
  result->kv_heads_ = model.kv_heads;
  const kv::Transforms& t = spec.transforms;
  if (!t.is_identity()) {
    DeviceFloats floats;
    std::vector<LayerPlaces> places;
    for (int layer = 0; layer < model.layers; ++layer) {
      KVP_ASSIGN_OR_RETURN(const LayerPlaces place,
                           PlaceLayer(t, model, layer, calibration, floats));
      places.push_back(place);
    }
    const float* base = nullptr;
    if (!floats.empty()) {
      KVP_ASSIGN_OR_RETURN(result->memory_, floats.Upload(backend));
      base = reinterpret_cast<const float*>(result->memory_->data());
    }
    for (const LayerPlaces& place : places) result->layers_.push_back(Resolve(place, base));
  }
  for (int layer = 0; layer < model.layers; ++layer) {
    const kv::LayerCodecs& codecs = spec.codecs[layer];
    AppendRanges("k", KeyBasis(t), codecs.k, t.k_clip, model.kv_heads, layer, calibration,
                 result->k_ranges_);
    AppendRanges("v", ValueBasis(t), codecs.v, t.v_clip, model.kv_heads, layer, calibration,
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
