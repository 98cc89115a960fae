#include "autotuner/awq_checkpoint.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "autotuner/awq_pack.h"
#include "engine/base/float16.h"

namespace kvpareto::tune {
namespace {

constexpr uint64_t kMaxFileBytes = 5'000'000'000;  // as Hugging Face's tools shard
constexpr int64_t kWordRows = 8;
constexpr int64_t kCopyRows = 1024;  // of a large tensor in memory at a time, a multiple of 8

Json Quantization(int group_size) {
  return {{"quant_method", "awq"},
          {"bits", 4},
          {"group_size", group_size},
          {"zero_point", true},
          {"version", "gemm"},
          {"backend", "autoawq"},
          {"modules_to_not_convert", nullptr}};
}

std::string LinearTensorName(int layer, Linear linear) {
  return LayerTensorName(layer, std::string(LinearName(linear)) + ".weight");
}

// "blk.0.attn_q.weight" -> "model.layers.0.self_attn.q_proj".
std::string HfModule(const std::string& weight) {
  const std::string name = ModelFiles::HfTensorName(weight);
  return name.substr(0, name.rfind('.'));
}

// The vectors of a layer that a checkpoint holds, by the layer's members.
struct LayerVector {
  const char* part;
  std::vector<float> AwqLayer::*values;
};
constexpr LayerVector kVectors[] = {
    {"attn_q.bias", &AwqLayer::query_bias},      {"attn_k.bias", &AwqLayer::key_bias},
    {"attn_v.bias", &AwqLayer::value_bias},      {"attn_q_norm.weight", &AwqLayer::query_norm},
    {"attn_k_norm.weight", &AwqLayer::key_norm}, {"attn_norm.weight", &AwqLayer::attention_norm},
    {"ffn_norm.weight", &AwqLayer::ffn_norm}};

bool Has(const ModelConfig& config, const LayerVector& vector) {
  const std::string_view part = vector.part;
  if (part.ends_with(".bias")) return config.qkv_bias;
  if (part == "attn_q_norm.weight" || part == "attn_k_norm.weight") return config.qk_norm;
  return true;
}

// Everything that the checkpoint holds, in the order in which it is written.
class Planner {
 public:
  Planner(const ModelFiles& files, int group_size) : files_(files), group_size_(group_size) {}

  absl::StatusOr<std::vector<TensorPlan>> Plan() {
    const ModelConfig& config = files_.config();
    KVP_RETURN_IF_ERROR(AddHalf("token_embd.weight"));
    for (int layer = 0; layer < config.layers; ++layer) {
      for (int i = 0; i < kLinears; ++i) {
        KVP_RETURN_IF_ERROR(AddLinear(LinearTensorName(layer, static_cast<Linear>(i))));
      }
      for (const LayerVector& vector : kVectors) {
        if (Has(config, vector)) {
          KVP_RETURN_IF_ERROR(AddHalf(LayerTensorName(layer, vector.part)));
        }
      }
    }
    KVP_RETURN_IF_ERROR(AddHalf("output_norm.weight"));
    if (!config.tied_head) KVP_RETURN_IF_ERROR(AddHalf("output.weight"));
    return std::move(plans_);
  }

 private:
  void Add(const std::string& name, const char* dtype, std::vector<int64_t> shape) {
    uint64_t bytes = dtype == std::string_view("I32") ? 4 : 2;
    for (const int64_t size : shape) bytes *= size;
    plans_.push_back({name, dtype, std::move(shape), bytes});
  }

  absl::Status AddHalf(const std::string& name) {
    KVP_ASSIGN_OR_RETURN(const ModelFiles::Shape shape, files_.ShapeOf(name));
    const bool vector = name.ends_with(".bias") || name.ends_with("norm.weight");
    Add(ModelFiles::HfTensorName(name), "F16",
        vector ? std::vector<int64_t>{shape.cols} : std::vector<int64_t>{shape.rows, shape.cols});
    return absl::OkStatus();
  }

  absl::Status AddLinear(const std::string& name) {
    KVP_ASSIGN_OR_RETURN(const ModelFiles::Shape shape, files_.ShapeOf(name));
    const std::string module = HfModule(name);
    const int64_t groups = shape.cols / group_size_;
    Add(module + ".qweight", "I32", {shape.cols, shape.rows / kWordRows});
    Add(module + ".qzeros", "I32", {groups, shape.rows / kWordRows});
    Add(module + ".scales", "F16", {groups, shape.rows});
    return absl::OkStatus();
  }

  const ModelFiles& files_;
  const int group_size_;
  std::vector<TensorPlan> plans_;
};

template <typename T>
std::span<const std::byte> Bytes(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

}  // namespace

absl::Status CheckGroupSize(const ModelFiles& files, int group_size) {
  for (int i = 0; i < kLinears; ++i) {
    const std::string name = LinearTensorName(0, static_cast<Linear>(i));
    KVP_ASSIGN_OR_RETURN(const ModelFiles::Shape shape, files.ShapeOf(name));
    if (shape.cols % group_size == 0 && shape.rows % kWordRows == 0) continue;
    return MakeError(absl::StatusCode::kInvalidArgument, "TUNE_OPTION_INVALID",
                     absl::StrCat("group_size ", group_size, " does not fit ", name, ", which has ",
                                  shape.cols, " input and ", shape.rows,
                                  " output features (whole groups, and a multiple of 8)"),
                     {{"option", "group_size"}});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<AwqCheckpoint>> AwqCheckpoint::Create(const ModelFiles& files,
                                                                     int group_size,
                                                                     const std::string& directory) {
  std::unique_ptr<AwqCheckpoint> checkpoint(new AwqCheckpoint(files));
  KVP_ASSIGN_OR_RETURN(std::vector<TensorPlan> plans, Planner(files, group_size).Plan());
  checkpoint->writer_ =
      std::make_unique<CheckpointWriter>(directory, std::move(plans), kMaxFileBytes);
  KVP_RETURN_IF_ERROR(files.WriteHfFiles(Quantization(group_size), directory));
  KVP_RETURN_IF_ERROR(checkpoint->CopyTensor("token_embd.weight"));
  return checkpoint;
}

absl::Status AwqCheckpoint::WriteHalf(const std::vector<float>& values, const std::string& name) {
  std::vector<uint16_t> halves(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    halves[i] = FloatToF16(values[i]);
    if (std::isfinite(F16ToFloat(halves[i]))) continue;
    return MakeError(absl::StatusCode::kOutOfRange, "WEIGHT_NOT_FINITE",
                     absl::StrCat("tensor ", name, ": float16 does not hold ", values[i]),
                     {{"tensor", name}});
  }
  return writer_->Write(Bytes(halves));
}

absl::Status AwqCheckpoint::CopyTensor(const std::string& name) {
  KVP_ASSIGN_OR_RETURN(const ModelFiles::Shape shape, files_.ShapeOf(name));
  for (int64_t row = 0; row < shape.rows; row += kCopyRows) {
    KVP_ASSIGN_OR_RETURN(const std::vector<float> values,
                         files_.ReadRows(name, row, std::min(kCopyRows, shape.rows - row)));
    KVP_RETURN_IF_ERROR(WriteHalf(values, name));
  }
  return absl::OkStatus();
}

absl::Status AwqCheckpoint::WriteLinear(const GroupCodes& codes, const std::string& name) {
  for (const uint16_t scale : codes.scales) {
    if (std::isfinite(F16ToFloat(scale))) continue;
    return MakeError(absl::StatusCode::kOutOfRange, "WEIGHT_NOT_FINITE",
                     absl::StrCat("tensor ", name, ": float16 does not hold the scale of a group"),
                     {{"tensor", name}});
  }
  const AwqTensors tensors = PackAwq(codes);
  KVP_RETURN_IF_ERROR(writer_->Write(Bytes(tensors.qweight)));
  KVP_RETURN_IF_ERROR(writer_->Write(Bytes(tensors.qzeros)));
  return writer_->Write(Bytes(tensors.scales));
}

absl::Status AwqCheckpoint::WriteLayer(const AwqLayer& layer, const AwqCodes& codes) {
  for (int i = 0; i < kLinears; ++i) {
    const std::string name = LinearTensorName(layer.index, static_cast<Linear>(i));
    KVP_RETURN_IF_ERROR(WriteLinear(codes[i], name));
  }
  for (const LayerVector& vector : kVectors) {
    if (!Has(files_.config(), vector)) continue;
    KVP_RETURN_IF_ERROR(
        WriteHalf(layer.*(vector.values), LayerTensorName(layer.index, vector.part)));
  }
  return absl::OkStatus();
}

absl::Status AwqCheckpoint::Finish() {
  KVP_RETURN_IF_ERROR(CopyTensor("output_norm.weight"));
  if (!files_.config().tied_head) KVP_RETURN_IF_ERROR(CopyTensor("output.weight"));
  return writer_->Finish();
}

}  // namespace kvpareto::tune
