#include "engine/model/transform_matrices.h"

#include <algorithm>
#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "engine/model/square_matrix.h"

namespace kvpareto {
namespace {

constexpr size_t kNone = ~size_t{0};

// Chains that wait for their first use. Requests may pin any chain and then never run.
constexpr size_t kMaxPrepared = 4;

// Where a layer's arrays begin in HostMatrices::values.
struct LayerPlaces {
  size_t key_bias = kNone, key_center = kNone, key_matrix = kNone, query_matrix = kNone;
  size_t value_center = kNone, value_matrix = kNone, output_matrix = kNone;
};

// The matrices of all KV heads: A = M^T as stored keys multiply it, and M^-1 for queries (values:
// N^T and N^-T).
struct MatrixPair {
  std::vector<float> forward;   // [kv_heads, in, out]
  std::vector<float> backward;  // [kv_heads, in, out]
};

void Append(const SquareMatrix& matrix, std::vector<float>& to) {
  to.insert(to.end(), matrix.values.begin(), matrix.values.end());
}

// Symmetric and its own inverse, and the same on every layer.
MatrixPair HadamardPair(const ModelConfig& model) {
  MatrixPair pair;
  for (int head = 0; head < model.kv_heads; ++head) {
    Append(BlockHadamard(model.head_dim), pair.forward);
  }
  pair.backward = pair.forward;
  return pair;
}

absl::StatusOr<MatrixPair> CalibratedPair(const Calibration& calibration, const std::string& name,
                                          bool for_values, const ModelConfig& model, int layer) {
  const int n = model.head_dim;
  const size_t square = static_cast<size_t>(n) * n;
  MatrixPair pair;
  for (int head = 0; head < model.kv_heads; ++head) {
    SquareMatrix matrix(n);  // M
    const auto values = calibration.LayerSlice(name, layer).subspan(head * square, square);
    std::copy(values.begin(), values.end(), matrix.values.begin());
    const std::optional<SquareMatrix> inverse = Inverse(matrix);
    if (!inverse.has_value()) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, "CALIBRATION_INVALID",
          absl::StrCat(name, ": layer ", layer, " head ", head, " cannot be inverted"));
    }
    Append(Transpose(matrix), pair.forward);
    Append(for_values ? Transpose(*inverse) : *inverse, pair.backward);
  }
  return pair;
}

std::string ChainName(const kv::Transforms& transforms) {
  return KeyBasis(transforms) + "/" + ValueBasis(transforms);
}

}  // namespace

// Arrays of all layers, one behind the other, as they will lie on the device.
struct HostMatrices {
  std::vector<float> values;
  std::vector<LayerPlaces> layers;

  size_t Add(std::span<const float> array) {
    const size_t offset = values.size();
    values.insert(values.end(), array.begin(), array.end());
    values.resize((values.size() + 31) / 32 * 32);  // arrays start at multiples of 128 bytes
    return offset;
  }

  absl::Status AddRotation(kv::Rotation rotation, const std::string& prefix, bool for_values,
                           const ModelConfig& model, const Calibration* calibration,
                           size_t LayerPlaces::*forward, size_t LayerPlaces::*backward) {
    if (rotation == kv::Rotation::kNone) return absl::OkStatus();
    if (rotation == kv::Rotation::kHadamard) {
      const MatrixPair pair = HadamardPair(model);
      const size_t place = Add(pair.forward);
      for (LayerPlaces& layer : layers) layer.*forward = layer.*backward = place;
      return absl::OkStatus();
    }
    const std::string name = prefix + std::string(kv::RotationName(rotation));
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      KVP_ASSIGN_OR_RETURN(const MatrixPair pair, CalibratedPair(*calibration, name, for_values,
                                                                 model, static_cast<int>(layer)));
      layers[layer].*forward = Add(pair.forward);
      layers[layer].*backward = Add(pair.backward);
    }
    return absl::OkStatus();
  }

  void AddVector(const Calibration& calibration, const std::string& name,
                 size_t LayerPlaces::*place) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      layers[layer].*place = Add(calibration.LayerSlice(name, static_cast<int>(layer)));
    }
  }

  // Only flagged layers: on the others it is zero, and nothing is removed.
  void AddKeyBias(const Calibration& calibration) {
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const auto bias = calibration.LayerSlice("key_bias", static_cast<int>(layer));
      const bool flagged = std::any_of(bias.begin(), bias.end(), [](float x) { return x != 0.0f; });
      if (flagged) layers[layer].key_bias = Add(bias);
    }
  }

  LayerTransform Resolve(int layer, const float* base) const {
    const auto at = [&](size_t LayerPlaces::*place) {
      const size_t offset = layers[layer].*place;
      return offset == kNone ? nullptr : base + offset;
    };
    return {.key_bias = at(&LayerPlaces::key_bias),
            .key_center = at(&LayerPlaces::key_center),
            .key_matrix = at(&LayerPlaces::key_matrix),
            .query_matrix = at(&LayerPlaces::query_matrix),
            .value_center = at(&LayerPlaces::value_center),
            .value_matrix = at(&LayerPlaces::value_matrix),
            .output_matrix = at(&LayerPlaces::output_matrix)};
  }
};

TransformCache::TransformCache(const ModelConfig& model, const Calibration* calibration,
                               Backend* backend)
    : model_(model), calibration_(calibration), backend_(backend) {}

TransformCache::~TransformCache() = default;

absl::StatusOr<std::shared_ptr<const HostMatrices>> TransformCache::Compute(
    const kv::Transforms& t, const std::string& key) {
  {
    const std::lock_guard lock(mutex_);
    for (const Prepared& prepared : prepared_) {
      if (prepared.first == key) return prepared.second;
    }
  }
  auto host = std::make_shared<HostMatrices>();
  host->layers.resize(model_.layers);
  if (t.remove_key_bias) host->AddKeyBias(*calibration_);
  if (t.k_center) {
    host->AddVector(*calibration_, t.remove_key_bias ? "key_mean_unbiased" : "key_mean",
                    &LayerPlaces::key_center);
  }
  if (t.v_center) host->AddVector(*calibration_, "value_mean", &LayerPlaces::value_center);
  KVP_RETURN_IF_ERROR(host->AddRotation(t.k_rotation, "key_rotation.", /*for_values=*/false, model_,
                                        calibration_, &LayerPlaces::key_matrix,
                                        &LayerPlaces::query_matrix));
  KVP_RETURN_IF_ERROR(host->AddRotation(t.v_rotation, "value_rotation.", /*for_values=*/true,
                                        model_, calibration_, &LayerPlaces::value_matrix,
                                        &LayerPlaces::output_matrix));
  return std::shared_ptr<const HostMatrices>(std::move(host));
}

absl::Status TransformCache::Prepare(const kv::Transforms& transforms) {
  if (transforms.is_identity()) return absl::OkStatus();
  const std::string key = ChainName(transforms);
  {
    const std::lock_guard lock(mutex_);
    const auto found = on_device_.find(key);
    if (found != on_device_.end() && !found->second.expired()) return absl::OkStatus();
  }
  KVP_ASSIGN_OR_RETURN(auto host, Compute(transforms, key));
  const std::lock_guard lock(mutex_);
  std::erase_if(prepared_, [&](const Prepared& other) { return other.first == key; });
  prepared_.emplace_back(key, std::move(host));
  if (prepared_.size() > kMaxPrepared) prepared_.pop_front();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const TransformMatrices>> TransformCache::Get(
    const kv::Transforms& transforms) {
  if (transforms.is_identity()) return nullptr;
  const std::string key = ChainName(transforms);
  {
    const std::lock_guard lock(mutex_);
    if (auto held = on_device_[key].lock()) return held;
  }
  KVP_ASSIGN_OR_RETURN(const auto host, Compute(transforms, key));
  std::unique_ptr<DeviceBuffer> memory;
  const float* base = nullptr;
  if (!host->values.empty()) {
    const size_t bytes = host->values.size() * sizeof(float);
    KVP_ASSIGN_OR_RETURN(memory, backend_->Allocate(bytes));
    backend_->CopyFromHost(memory->data(), host->values.data(), bytes);
    KVP_RETURN_IF_ERROR(backend_->Synchronize());
    base = reinterpret_cast<const float*>(memory->data());
  }
  std::vector<LayerTransform> layers;
  for (int layer = 0; layer < model_.layers; ++layer) layers.push_back(host->Resolve(layer, base));
  auto matrices = std::make_shared<const TransformMatrices>(std::move(memory), std::move(layers));
  const std::lock_guard lock(mutex_);
  std::erase_if(prepared_, [&](const Prepared& prepared) { return prepared.first == key; });
  on_device_[key] = matrices;
  return matrices;
}

uint64_t TransformCache::device_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const auto& [key, matrices] : on_device_) {
    if (const auto held = matrices.lock()) bytes += held->device_bytes();
  }
  return bytes;
}

}  // namespace kvpareto
