#include "engine/model/weights.h"

#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "engine/ops/dequantize_rows.h"

namespace kvpareto {
namespace {

class Loader {
 public:
  Loader(const ModelSource& source, Backend& backend) : source_(source), backend_(backend) {}

  // The named matrices stacked by rows, or vectors joined, into one weight.
  absl::StatusOr<std::unique_ptr<Weight>> Load(std::initializer_list<std::string> names) {
    std::vector<TensorView> tensors;
    for (const std::string& name : names) {
      KVP_ASSIGN_OR_RETURN(TensorView tensor, source_.Tensor(name));
      tensors.push_back(std::move(tensor));
    }
    return Annotated(backend_.LoadWeight(tensors), *names.begin());
  }

 private:
  static absl::StatusOr<std::unique_ptr<Weight>> Annotated(
      absl::StatusOr<std::unique_ptr<Weight>> weight, const std::string& name) {
    if (!weight.ok()) return Annotate(weight.status(), name);
    return weight;
  }

  const ModelSource& source_;
  Backend& backend_;
};

absl::StatusOr<LayerWeights> LoadLayer(Loader& loader, const ModelConfig& config, int index) {
  const auto name = [index](std::string_view part) {
    return absl::StrCat("blk.", index, ".", absl::string_view(part.data(), part.size()));
  };
  LayerWeights layer;
  KVP_ASSIGN_OR_RETURN(layer.attn_norm, loader.Load({name("attn_norm.weight")}));
  KVP_ASSIGN_OR_RETURN(layer.qkv, loader.Load({name("attn_q.weight"), name("attn_k.weight"),
                                               name("attn_v.weight")}));
  if (config.qkv_bias) {
    KVP_ASSIGN_OR_RETURN(layer.qkv_bias, loader.Load({name("attn_q.bias"), name("attn_k.bias"),
                                                      name("attn_v.bias")}));
  }
  if (config.qk_norm) {
    KVP_ASSIGN_OR_RETURN(layer.q_norm, loader.Load({name("attn_q_norm.weight")}));
    KVP_ASSIGN_OR_RETURN(layer.k_norm, loader.Load({name("attn_k_norm.weight")}));
  }
  KVP_ASSIGN_OR_RETURN(layer.attn_output, loader.Load({name("attn_output.weight")}));
  KVP_ASSIGN_OR_RETURN(layer.ffn_norm, loader.Load({name("ffn_norm.weight")}));
  KVP_ASSIGN_OR_RETURN(layer.gate_up,
                       loader.Load({name("ffn_gate.weight"), name("ffn_up.weight")}));
  KVP_ASSIGN_OR_RETURN(layer.ffn_down, loader.Load({name("ffn_down.weight")}));
  return layer;
}

}  // namespace

size_t ModelWeights::resident_bytes() const {
  size_t total = 0;
  const auto add = [&total](const std::unique_ptr<Weight>& weight) {
    if (weight) total += weight->resident_bytes();
  };
  add(embedding);
  add(output_norm);
  add(output);
  for (const LayerWeights& layer : layers) {
    for (const auto* weight :
         {&layer.attn_norm, &layer.qkv, &layer.qkv_bias, &layer.q_norm, &layer.k_norm,
          &layer.attn_output, &layer.ffn_norm, &layer.gate_up, &layer.ffn_down}) {
      add(*weight);
    }
  }
  return total;
}

absl::StatusOr<ModelWeights> LoadWeights(const ModelSource& source, Backend& backend) {
  Loader loader(source, backend);
  ModelWeights weights;
  KVP_ASSIGN_OR_RETURN(weights.embedding, loader.Load({"token_embd.weight"}));
  KVP_ASSIGN_OR_RETURN(weights.output_norm, loader.Load({"output_norm.weight"}));
  if (!source.config().tied_head) {
    KVP_ASSIGN_OR_RETURN(weights.output, loader.Load({"output.weight"}));
  }
  weights.layers.reserve(source.config().layers);
  for (int i = 0; i < source.config().layers; ++i) {
    // What has been packed leaves memory at once: the file and its packed copy are never both
    // there.
    source.DropPages();
    KVP_ASSIGN_OR_RETURN(LayerWeights layer, LoadLayer(loader, source.config(), i));
    weights.layers.push_back(std::move(layer));
  }
  source.DropPages();
  KVP_RETURN_IF_ERROR(source.Check());
  return weights;
}

absl::StatusOr<std::vector<float>> ReadKeyBias(const ModelSource& source, int layer) {
  if (!source.config().qkv_bias) return std::vector<float>();
  KVP_ASSIGN_OR_RETURN(const TensorView tensor,
                       source.Tensor(absl::StrCat("blk.", layer, ".attn_k.bias")));
  return DequantizeAll(tensor);
}

absl::StatusOr<std::vector<float>> ReadOutputProjection(const ModelSource& source, int layer) {
  KVP_ASSIGN_OR_RETURN(const TensorView tensor,
                       source.Tensor(absl::StrCat("blk.", layer, ".attn_output.weight")));
  return DequantizeAll(tensor);
}

}  // namespace kvpareto
