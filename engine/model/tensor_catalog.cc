#include "engine/model/tensor_catalog.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/model/model_error.h"

namespace kvpareto {
namespace {

using Shape = std::vector<int64_t>;

std::string Text(const Shape& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

// Name -> shape of everything that the forward pass reads.
std::map<std::string, Shape> ExpectedTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden, ffn = config.ffn, head_dim = config.head_dim;
  const int64_t q = config.heads * head_dim, kv = config.kv_heads * head_dim;
  std::map<std::string, Shape> expected = {{"token_embd.weight", {config.vocab, hidden}},
                                           {"output_norm.weight", {hidden}}};
  if (!config.tied_head) expected["output.weight"] = {config.vocab, hidden};
  for (int layer = 0; layer < config.layers; ++layer) {
    const std::string prefix = absl::StrCat("blk.", layer, ".");
    expected[prefix + "attn_norm.weight"] = {hidden};
    expected[prefix + "attn_q.weight"] = {q, hidden};
    expected[prefix + "attn_k.weight"] = {kv, hidden};
    expected[prefix + "attn_v.weight"] = {kv, hidden};
    if (config.qkv_bias) {
      expected[prefix + "attn_q.bias"] = {q};
      expected[prefix + "attn_k.bias"] = {kv};
      expected[prefix + "attn_v.bias"] = {kv};
    }
    if (config.qk_norm) {
      expected[prefix + "attn_q_norm.weight"] = {head_dim};
      expected[prefix + "attn_k_norm.weight"] = {head_dim};
    }
    expected[prefix + "attn_output.weight"] = {hidden, q};
    expected[prefix + "ffn_norm.weight"] = {hidden};
    expected[prefix + "ffn_gate.weight"] = {ffn, hidden};
    expected[prefix + "ffn_up.weight"] = {ffn, hidden};
    expected[prefix + "ffn_down.weight"] = {hidden, ffn};
  }
  return expected;
}

}  // namespace

absl::StatusOr<uint64_t> TensorBytes(const TensorView& tensor) {
  const TensorTypeInfo& info = GetTensorTypeInfo(tensor.type);
  uint64_t elements = 1;
  for (int64_t dim : tensor.shape) {
    if (dim < 1 || __builtin_mul_overflow(elements, static_cast<uint64_t>(dim), &elements)) {
      return CorruptFile(
          absl::StrCat("tensor ", Printable(tensor.name), " has the shape ", Text(tensor.shape)));
    }
  }
  if (tensor.cols() % info.block_elements != 0) {
    return CorruptFile(absl::StrCat("tensor ", Printable(tensor.name), ": rows of ", tensor.cols(),
                                    " elements are not whole blocks of ",
                                    absl::string_view(info.name.data(), info.name.size())));
  }
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(elements / info.block_elements,
                             static_cast<uint64_t>(info.block_bytes), &bytes)) {
    return CorruptFile(
        absl::StrCat("tensor ", Printable(tensor.name), " has the shape ", Text(tensor.shape)));
  }
  return bytes;
}

absl::Status CheckNoOverlap(std::span<const TensorView> tensors) {
  std::vector<const TensorView*> by_place;
  for (const TensorView& tensor : tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(), [](const TensorView* a, const TensorView* b) {
    return std::less<>()(a->data.data(), b->data.data());
  });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const TensorView &before = *by_place[i - 1], &after = *by_place[i];
    if (before.data.data() + before.data.size() > after.data.data()) {
      return CorruptFile("tensors " + Printable(before.name) + " and " + Printable(after.name) +
                         " overlap in the file");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTensors(const ModelConfig& config, const TensorCatalog& tensors) {
  const std::map<std::string, Shape> expected = ExpectedTensors(config);
  for (const auto& [name, shape] : expected) {
    const auto found = tensors.find(name);
    if (found == tensors.end()) {
      return InvalidModelConfig(name, "the file has no such tensor");
    }
    if (found->second.shape != shape) {
      return InvalidModelConfig(name, absl::StrCat("has the shape ", Text(found->second.shape),
                                                   ", the configuration asks for ", Text(shape)));
    }
  }
  for (const auto& [name, tensor] : tensors) {
    if (!expected.contains(name)) return UnsupportedModel("tensor", name);
    if (tensor.type == TensorType::kI32) return UnsupportedTensorType(name, "I32");
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
