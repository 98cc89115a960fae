#include "autotuner/awq_layer.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace kvpareto::tune {

std::string_view LinearName(Linear linear) {
  constexpr std::array<std::string_view, kLinears> kNames = {
      "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
  return kNames[static_cast<size_t>(linear)];
}

std::string_view LayerInputName(LayerInput input) {
  constexpr std::array<std::string_view, kLayerInputs> kNames = {"attention", "attention_output",
                                                                 "ffn", "ffn_down"};
  return kNames[static_cast<size_t>(input)];
}

LayerInput InputOf(Linear linear) {
  switch (linear) {
    case Linear::kQuery:
    case Linear::kKey:
    case Linear::kValue:
      return LayerInput::kAttention;
    case Linear::kOutput:
      return LayerInput::kAttentionOutput;
    case Linear::kGate:
    case Linear::kUp:
      return LayerInput::kFfn;
    case Linear::kDown:
      break;
  }
  return LayerInput::kFfnDown;
}

std::string LayerTensorName(int layer, std::string_view part) {
  return "blk." + std::to_string(layer) + "." + std::string(part);
}

absl::StatusOr<std::vector<float>> ReadFinite(const ModelFiles& files, const std::string& tensor) {
  KVP_ASSIGN_OR_RETURN(std::vector<float> values, files.Read(tensor));
  for (const float value : values) {
    if (std::isfinite(value)) continue;
    return MakeError(absl::StatusCode::kOutOfRange, "WEIGHT_NOT_FINITE",
                     absl::StrCat("tensor ", tensor, " holds ", value), {{"tensor", tensor}});
  }
  return values;
}

absl::StatusOr<AwqLayer> ReadAwqLayer(const ModelFiles& files, int layer) {
  AwqLayer out{.index = layer};
  for (int i = 0; i < kLinears; ++i) {
    const std::string name =
        LayerTensorName(layer, std::string(LinearName(static_cast<Linear>(i))) + ".weight");
    KVP_ASSIGN_OR_RETURN(const ModelFiles::Shape shape, files.ShapeOf(name));
    KVP_ASSIGN_OR_RETURN(std::vector<float> values, ReadFinite(files, name));
    out.linears[i] = Matrix(shape.rows, shape.cols, std::move(values));
  }
  const auto read = [&](std::string_view part, std::vector<float>& to) -> absl::Status {
    KVP_ASSIGN_OR_RETURN(to, ReadFinite(files, LayerTensorName(layer, part)));
    return absl::OkStatus();
  };
  KVP_RETURN_IF_ERROR(read("attn_norm.weight", out.attention_norm));
  KVP_RETURN_IF_ERROR(read("ffn_norm.weight", out.ffn_norm));
  if (files.config().qk_norm) {
    KVP_RETURN_IF_ERROR(read("attn_q_norm.weight", out.query_norm));
    KVP_RETURN_IF_ERROR(read("attn_k_norm.weight", out.key_norm));
  }
  if (files.config().qkv_bias) {
    KVP_RETURN_IF_ERROR(read("attn_q.bias", out.query_bias));
    KVP_RETURN_IF_ERROR(read("attn_k.bias", out.key_bias));
    KVP_RETURN_IF_ERROR(read("attn_v.bias", out.value_bias));
  }
  return out;
}

}  // namespace kvpareto::tune
