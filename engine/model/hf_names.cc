#include "engine/model/hf_names.h"

#include <array>
#include <utility>

namespace kvpareto {
namespace {

struct Names {
  std::string_view hf;
  std::string_view canonical;
};

constexpr std::array<Names, 3> kWhole = {{
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
}};

constexpr std::array<Names, 11> kLayerParts = {{
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
}};

constexpr Names kLayers = {"model.layers.", "blk."};

std::string Translate(std::string_view name, std::string_view Names::*from,
                      std::string_view Names::*to) {
  const size_t suffix = name.rfind('.');
  if (suffix == name.npos) return std::string(name);
  for (const Names& whole : kWhole) {
    if (name.substr(0, suffix) != whole.*from) continue;
    return std::string(whole.*to).append(name.substr(suffix));
  }
  const size_t layer = (kLayers.*from).size(), layer_end = name.find('.', layer);
  if (!name.starts_with(kLayers.*from) || layer_end >= suffix) return std::string(name);
  for (const Names& part : kLayerParts) {
    if (name.substr(layer_end + 1, suffix - layer_end - 1) != part.*from) continue;
    std::string out(kLayers.*to);
    out.append(name.substr(layer, layer_end + 1 - layer)).append(part.*to);
    return out.append(name.substr(suffix));
  }
  return std::string(name);
}

}  // namespace

std::string CanonicalName(std::string_view hf_name) {
  return Translate(hf_name, &Names::hf, &Names::canonical);
}

std::string HfName(std::string_view canonical_name) {
  return Translate(canonical_name, &Names::canonical, &Names::hf);
}

}  // namespace kvpareto
