// One layer of a model as AWQ sees it: float weights, and sets of linear layers with one input.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "autotuner/awq_groups.h"
#include "engine/model_files.h"

namespace kvpareto::tune {

// The linear layers of a block, in the order in which a checkpoint holds them.
enum class Linear : uint8_t { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown };
inline constexpr int kLinears = 7;
std::string_view LinearName(Linear linear);  // "attn_q"

struct AwqLayer {
  int index = 0;
  std::array<Matrix, kLinears> linears;                 // [out, in]
  std::vector<float> attention_norm, ffn_norm;          // [hidden]
  std::vector<float> query_norm, key_norm;              // [head_dim]; empty: the model has none
  std::vector<float> query_bias, key_bias, value_bias;  // empty: the model has none

  Matrix& operator[](Linear linear) { return linears[static_cast<size_t>(linear)]; }
  const Matrix& operator[](Linear linear) const { return linears[static_cast<size_t>(linear)]; }
};

// The linear layers of a block as 4-bit codes.
using AwqCodes = std::array<GroupCodes, kLinears>;

// "blk.3.attn_q.weight" of layer 3.
std::string LayerTensorName(int layer, std::string_view part);

// Errors: of ModelFiles::ReadRows; OUT_OF_RANGE (WEIGHT_NOT_FINITE) naming a tensor that holds an
// infinity or no number.
absl::StatusOr<AwqLayer> ReadAwqLayer(const ModelFiles& files, int layer);

// A whole tensor, checked to be finite. Errors: likewise.
absl::StatusOr<std::vector<float>> ReadFinite(const ModelFiles& files, const std::string& tensor);

// The inputs of linear layers.
enum class LayerInput : uint8_t { kAttention, kAttentionOutput, kFfn, kFfnDown };
inline constexpr int kLayerInputs = 4;
std::string_view LayerInputName(LayerInput input);
LayerInput InputOf(Linear linear);

}  // namespace kvpareto::tune
