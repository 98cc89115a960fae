#include "engine/model/calibration.h"

#include <cmath>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "engine/base/mapped_file.h"
#include "engine/model/json.h"
#include "engine/model/safetensors.h"
#include "engine/ops/dequantize.h"

namespace kvpareto {
namespace {

absl::Status Invalid(const std::string& path, const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION_INVALID",
                   absl::StrCat(path, ": ", message), {{"path", path}});
}

std::string Basis(bool unbiased, bool center, kv::Rotation rotation) {
  std::vector<std::string> words;
  if (unbiased) words.push_back("unbiased");
  if (center) words.push_back("center");
  if (rotation != kv::Rotation::kNone) words.emplace_back(kv::RotationName(rotation));
  return words.empty() ? "plain" : absl::StrJoin(words, "-");
}

// The shape that the name stands for; empty: not one of ours.
std::vector<int64_t> ExpectedShape(const std::string& name, const ModelConfig& model) {
  const int64_t l = model.layers, h = model.kv_heads, d = model.head_dim;
  if (name == "key_bias" || name == "key_mean" || name == "key_mean_unbiased" ||
      name == "value_mean") {
    return {l, h, d};
  }
  if (absl::StartsWith(name, "key_rotation.") || absl::StartsWith(name, "value_rotation.")) {
    return {l, h, d, d};
  }
  if (absl::StartsWith(name, "k_range.") || absl::StartsWith(name, "v_range.")) return {l, h, 2};
  if (absl::StartsWith(name, "k_clip.") || absl::StartsWith(name, "v_clip.")) return {l, h};
  return {};
}

absl::Status CheckValues(const std::string& name, const std::vector<float>& values,
                         const std::string& path) {
  for (float value : values) {
    if (!std::isfinite(value)) return Invalid(path, name + " holds a value that is not finite");
  }
  if (name.find("_range.") != name.npos) {
    for (size_t i = 0; i + 1 < values.size(); i += 2) {
      if (values[i] > values[i + 1]) {
        return Invalid(path, name + ": a minimum exceeds its maximum");
      }
    }
  }
  if (name.find("_clip.") != name.npos) {
    for (float value : values) {
      if (value <= 0.0f || value > 1.0f) return Invalid(path, name + ": a clip is outside (0, 1]");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Calibration::Tensor> ReadTensor(const TensorView& view,
                                               const std::vector<int64_t>& shape,
                                               const std::string& path) {
  if (view.type != TensorType::kF32 || view.shape != shape) {
    return Invalid(path, absl::StrCat(view.name, " is no F32 [", absl::StrJoin(shape, ", "), "]"));
  }
  Calibration::Tensor tensor{.shape = shape, .values = {}};
  size_t elements = 1;
  for (int64_t size : shape) elements *= size;
  tensor.values.resize(elements);
  DequantizeRow(view.type, view.data, tensor.values);
  KVP_RETURN_IF_ERROR(CheckValues(view.name, tensor.values, path));
  return tensor;
}

}  // namespace

std::string KeyBasis(const kv::Transforms& transforms) {
  return Basis(transforms.remove_key_bias, transforms.k_center, transforms.k_rotation);
}

std::string ValueBasis(const kv::Transforms& transforms) {
  return Basis(false, transforms.v_center, transforms.v_rotation);
}

const Calibration::Tensor* Calibration::Find(std::string_view name) const {
  const auto it = tensors.find(std::string(name));
  return it == tensors.end() ? nullptr : &it->second;
}

std::span<const float> Calibration::LayerSlice(const std::string& name, int layer) const {
  const Tensor* tensor = Find(name);
  KVP_CHECK(tensor != nullptr) << name;
  const size_t size = tensor->values.size() / tensor->shape[0];
  return {tensor->values.data() + layer * size, size};
}

absl::StatusOr<Calibration> LoadCalibration(const std::string& path, const ModelConfig& model,
                                            const std::string& fingerprint) {
  KVP_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  std::map<std::string, std::string> metadata;
  const auto views = ParseSafetensors(file->bytes(), &metadata);
  if (!views.ok()) return Annotate(views.status(), path);
  Calibration calibration{
      .fingerprint = metadata["fingerprint"], .text = metadata["text"], .tensors = {}};
  if (calibration.fingerprint != fingerprint) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "CALIBRATION_MODEL_MISMATCH",
                     absl::StrCat(path, " was measured on model ", calibration.fingerprint,
                                  ", this one is ", fingerprint),
                     {{"path", path}});
  }
  for (const TensorView& view : *views) {
    const std::vector<int64_t> shape = ExpectedShape(view.name, model);
    if (shape.empty()) continue;
    KVP_ASSIGN_OR_RETURN(calibration.tensors[view.name], ReadTensor(view, shape, path));
  }
  KVP_RETURN_IF_ERROR(file->Check());
  return calibration;
}

absl::Status SaveCalibration(const Calibration& calibration, const std::string& path) {
  Json header = {{"__metadata__",
                  {{"format", "kvpareto-calibration-2"},
                   {"fingerprint", calibration.fingerprint},
                   {"text", calibration.text}}}};
  size_t end = 0;
  for (const auto& [name, tensor] : calibration.tensors) {
    const size_t begin = end;
    end += tensor.values.size() * sizeof(float);
    header[name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the format aligns the data by spaces
  const uint64_t header_bytes = text.size();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
  file.write(text.data(), text.size());
  for (const auto& [name, tensor] : calibration.tensors) {
    file.write(reinterpret_cast<const char*>(tensor.values.data()),
               tensor.values.size() * sizeof(float));
  }
  file.close();
  if (file.fail()) {
    return MakeError(absl::StatusCode::kUnavailable, "FILE_ACCESS", "cannot write " + path,
                     {{"path", path}});
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
