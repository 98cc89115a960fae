#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/base/check.h"
#include "engine/base/float16.h"
#include "engine/ops/dequantize.h"
#include "tests/support/awq_blocks.h"
#include "tests/support/hf_tokenizer_writer.h"
#include "tests/support/random_blocks.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::support {
namespace {

using Json = nlohmann::ordered_json;

struct ArchitectureNames {
  const char* class_name;
  const char* model_type;
};
ArchitectureNames NamesOf(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return {"LlamaForCausalLM", "llama"};
    case Architecture::kQwen2:
      return {"Qwen2ForCausalLM", "qwen2"};
    case Architecture::kQwen3:
      return {"Qwen3ForCausalLM", "qwen3"};
    case Architecture::kMistral:
      return {"MistralForCausalLM", "mistral"};
  }
  KVP_CHECK(false) << "unknown architecture";
  std::abort();
}

Json RopeScaling(const TinyModelOptions& options) {
  if (options.linear_rope_factor > 0) {
    return {{"type", "linear"}, {"factor", options.linear_rope_factor}};
  }
  if (options.llama3_rope.has_value()) {
    const Llama3RopeScaling& scaling = *options.llama3_rope;
    return {{"rope_type", "llama3"},
            {"factor", scaling.factor},
            {"low_freq_factor", scaling.low_freq_factor},
            {"high_freq_factor", scaling.high_freq_factor},
            {"original_max_position_embeddings",
             static_cast<int64_t>(scaling.original_context_tokens)}};
  }
  return nullptr;
}

Json Config(const TinyModel& model, int awq_group_cols) {
  const TinyModelOptions& options = model.options;
  const ArchitectureNames names = NamesOf(options.architecture);
  Json config = {{"architectures", {names.class_name}},
                 {"model_type", names.model_type},
                 {"hidden_size", options.hidden},
                 {"intermediate_size", options.ffn},
                 {"num_hidden_layers", options.layers},
                 {"num_attention_heads", options.heads},
                 {"num_key_value_heads", options.kv_heads},
                 {"head_dim", options.head_dim},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", 1e-5},
                 {"rope_theta", options.rope_base},
                 {"rope_scaling", RopeScaling(options)},
                 {"max_position_embeddings", options.context_tokens},
                 {"vocab_size", options.vocab},
                 {"tie_word_embeddings", options.tied},
                 {"bos_token_id", model.tokenizer.bos_token},
                 {"torch_dtype", "float32"}};
  config["sliding_window"] = nullptr;
  if (options.sliding_window > 0) {
    config["sliding_window"] = options.sliding_window;
    config["use_sliding_window"] = true;
    config["max_window_layers"] = 0;
  }
  if (!model.eos_tokens.empty()) config["eos_token_id"] = model.eos_tokens[0];
  if (awq_group_cols > 0) {
    config["quantization_config"] = {
        {"quant_method", "awq"}, {"bits", 4},         {"group_size", awq_group_cols},
        {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", nullptr}};
  }
  return config;
}

std::string HfName(const std::string& canonical) {
  static const std::map<std::string, std::string> kWhole = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"}};
  static const std::map<std::string, std::string> kParts = {
      {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
      {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  if (auto whole = kWhole.find(canonical); whole != kWhole.end()) return whole->second;
  // blk.N.part.suffix
  const size_t part = canonical.find('.', 4) + 1, suffix = canonical.rfind('.');
  const auto name = kParts.find(canonical.substr(part, suffix - part));
  if (name == kParts.end()) return canonical;  // a test's own tensor
  return "model.layers." + canonical.substr(4, part - 4) + name->second + canonical.substr(suffix);
}

std::vector<float> ValuesOf(const TinyTensor& tensor) {
  int64_t elements = 1;
  for (int64_t dim : tensor.shape) elements *= dim;
  std::vector<float> values(elements);
  DequantizeRow(tensor.type, tensor.data, values);
  return values;
}

SafetensorsEntry Converted(const TinyTensor& tensor, TensorType type) {
  return {HfName(tensor.name), std::string(GetTensorTypeInfo(type).name), tensor.shape,
          EncodeFloats(type, ValuesOf(tensor))};
}

bool IsLayerMatrix(const TinyTensor& tensor) {
  return tensor.name.starts_with("blk.") && tensor.shape.size() == 2;
}

AwqBlocks Quantized(const TinyTensor& tensor, int group_cols) {
  return QuantizeAwq(ValuesOf(tensor), tensor.shape[0], tensor.shape[1], group_cols);
}

void AddAwq(const TinyTensor& tensor, int group_cols, std::vector<SafetensorsEntry>& entries) {
  const int64_t rows = tensor.shape[0], cols = tensor.shape[1], groups = cols / group_cols;
  const AwqBlocks blocks = Quantized(tensor, group_cols);
  const std::string weight = HfName(tensor.name);
  const std::string module = weight.substr(0, weight.rfind('.'));
  entries.push_back({module + ".qweight", "I32", {cols, rows / 8}, blocks.codes});
  entries.push_back({module + ".qzeros", "I32", {groups, rows / 8}, blocks.zeros});
  entries.push_back({module + ".scales", "F16", {groups, rows}, blocks.scales});
}

void WriteShards(const std::vector<SafetensorsEntry>& entries, size_t per_shard,
                 const std::string& directory) {
  const size_t num_shards = (entries.size() + per_shard - 1) / per_shard;
  Json weight_map;
  for (size_t shard = 0; shard < num_shards; ++shard) {
    const std::string file =
        "model-" + std::to_string(shard + 1) + "-of-" + std::to_string(num_shards) + ".safetensors";
    const auto begin = entries.begin() + static_cast<int64_t>(shard * per_shard);
    const auto end =
        entries.begin() + static_cast<int64_t>(std::min(entries.size(), (shard + 1) * per_shard));
    for (auto entry = begin; entry != end; ++entry) weight_map[entry->name] = file;
    WriteBytes(directory + "/" + file, SafetensorsFile({begin, end}));
  }
  const Json index = {{"metadata", Json::object()}, {"weight_map", weight_map}};
  WriteBytes(directory + "/model.safetensors.index.json", index.dump());
}

}  // namespace

void WriteHfDirectory(const TinyModel& model, const std::string& directory,
                      const HfWriteOptions& options) {
  std::filesystem::create_directories(directory);
  WriteBytes(directory + "/config.json", Config(model, options.awq_group_cols).dump(1));
  WriteBytes(directory + "/generation_config.json",
             Json({{"eos_token_id", model.eos_tokens}}).dump(1));
  WriteHfTokenizer(model, options.merges_as_pairs, directory);
  std::vector<SafetensorsEntry> entries;
  for (const TinyTensor& tensor : model.tensors) {
    if (options.awq_group_cols == 0) {
      entries.push_back(Converted(tensor, options.type));
    } else if (IsLayerMatrix(tensor)) {
      AddAwq(tensor, options.awq_group_cols, entries);
    } else {
      entries.push_back(Converted(tensor, TensorType::kF16));
    }
  }
  if (options.max_shard_tensors > 0) {
    return WriteShards(entries, options.max_shard_tensors, directory);
  }
  WriteBytes(directory + "/model.safetensors", SafetensorsFile(entries));
}

TinyModel AwqRounded(const TinyModel& model, int group_cols) {
  TinyModel dense = model;
  for (TinyTensor& tensor : dense.tensors) {
    std::vector<float> values = ValuesOf(tensor);
    if (IsLayerMatrix(tensor)) {
      values = Quantized(tensor, group_cols).values;
    } else {
      for (float& value : values) value = F16ToFloat(FloatToF16(value));
    }
    tensor.type = TensorType::kF32;
    tensor.data = EncodeFloats(TensorType::kF32, values);
  }
  return dense;
}

}  // namespace kvpareto::support
