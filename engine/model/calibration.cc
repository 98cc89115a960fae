#include "engine/model/calibration.h"

#include <cmath>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "engine/base/mapped_file.h"
#include "engine/model/json.h"
#include "engine/model/safetensors.h"
#include "engine/ops/dequantize.h"

namespace kvpareto {
namespace {

using Ranges = std::vector<std::vector<kv::StaticRange>>;

absl::Status Invalid(const std::string& path, const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CALIBRATION_INVALID",
                   absl::StrCat(path, ": ", message), {{"path", path}});
}

// One of the four tensors, [layers, kv_heads].
absl::StatusOr<std::vector<float>> ReadTensor(const std::vector<TensorView>& tensors,
                                              const std::string& name, const std::string& path,
                                              const ModelConfig& model) {
  for (const TensorView& tensor : tensors) {
    if (tensor.name != name) continue;
    if (tensor.type != TensorType::kF32 ||
        tensor.shape != std::vector<int64_t>{model.layers, model.kv_heads}) {
      return Invalid(path,
                     absl::StrCat(name, " is no F32 [", model.layers, ", ", model.kv_heads, "]"));
    }
    std::vector<float> values(model.layers * model.kv_heads);
    DequantizeRow(tensor.type, tensor.data, values);
    for (float value : values) {
      if (!std::isfinite(value)) return Invalid(path, name + " holds a value that is not finite");
    }
    return values;
  }
  return Invalid(path, "there is no tensor " + name);
}

absl::StatusOr<Ranges> ReadRanges(const std::vector<TensorView>& tensors, const std::string& prefix,
                                  const std::string& path, const ModelConfig& model) {
  KVP_ASSIGN_OR_RETURN(const auto min, ReadTensor(tensors, prefix + "_min", path, model));
  KVP_ASSIGN_OR_RETURN(const auto max, ReadTensor(tensors, prefix + "_max", path, model));
  Ranges ranges(model.layers, std::vector<kv::StaticRange>(model.kv_heads));
  for (size_t i = 0; i < min.size(); ++i) {
    if (min[i] > max[i]) return Invalid(path, prefix + ": a minimum exceeds its maximum");
    ranges[i / model.kv_heads][i % model.kv_heads] = {.min = min[i], .max = max[i]};
  }
  return ranges;
}

}  // namespace

std::span<const kv::StaticRange> Calibration::KeyRanges(int layer) const { return k[layer]; }

std::span<const kv::StaticRange> Calibration::ValueRanges(int layer) const { return v[layer]; }

absl::StatusOr<Calibration> LoadCalibration(const std::string& path, const ModelConfig& model,
                                            const std::string& fingerprint) {
  KVP_ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  std::map<std::string, std::string> metadata;
  const auto tensors = ParseSafetensors(file->bytes(), &metadata);
  if (!tensors.ok()) return Annotate(tensors.status(), path);
  Calibration calibration{.fingerprint = metadata["fingerprint"], .text = metadata["text"]};
  if (calibration.fingerprint != fingerprint) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "CALIBRATION_MODEL_MISMATCH",
                     absl::StrCat(path, " was measured on model ", calibration.fingerprint,
                                  ", this one is ", fingerprint),
                     {{"path", path}});
  }
  KVP_ASSIGN_OR_RETURN(calibration.k, ReadRanges(*tensors, "k", path, model));
  KVP_ASSIGN_OR_RETURN(calibration.v, ReadRanges(*tensors, "v", path, model));
  return calibration;
}

absl::Status SaveCalibration(const Calibration& calibration, const std::string& path) {
  Json header = {{"__metadata__",
                  {{"format", "kvpareto-calibration-1"},
                   {"fingerprint", calibration.fingerprint},
                   {"text", calibration.text}}}};
  std::vector<float> data;
  const auto add = [&](const std::string& name, const Ranges& ranges, auto member) {
    const size_t begin = data.size() * sizeof(float);
    for (const auto& layer : ranges) {
      for (const kv::StaticRange& range : layer) data.push_back(range.*member);
    }
    header[name] = {{"dtype", "F32"},
                    {"shape", {ranges.size(), ranges.empty() ? 0 : ranges[0].size()}},
                    {"data_offsets", {begin, data.size() * sizeof(float)}}};
  };
  add("k_min", calibration.k, &kv::StaticRange::min);
  add("k_max", calibration.k, &kv::StaticRange::max);
  add("v_min", calibration.v, &kv::StaticRange::min);
  add("v_max", calibration.v, &kv::StaticRange::max);

  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the format aligns the data by spaces
  const uint64_t header_bytes = text.size();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(&header_bytes), sizeof header_bytes);
  file.write(text.data(), text.size());
  file.write(reinterpret_cast<const char*>(data.data()), data.size() * sizeof(float));
  file.close();
  if (file.fail()) {
    return MakeError(absl::StatusCode::kUnavailable, "FILE_ACCESS", "cannot write " + path,
                     {{"path", path}});
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
