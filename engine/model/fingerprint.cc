#include <algorithm>
#include <cstdio>
#include <type_traits>

#include "engine/model/tensor_catalog.h"

namespace kvpareto {
namespace {

// Samples of each tensor's data: so many runs of so many bytes, the first at its start, the last at
// its end. 4 x 256 B touches about a thousand pages of a 30-layer model.
constexpr size_t kSamples = 4;
constexpr size_t kSampleBytes = 256;

// FNV-1a, 64 bits: no defence against forgery, only against mistaking one model for another.
class Hash {
 public:
  void Bytes(std::span<const std::byte> bytes) {
    for (std::byte byte : bytes) state_ = (state_ ^ static_cast<uint64_t>(byte)) * 0x100000001b3u;
  }
  template <typename T>
  void Value(T value) {
    static_assert(std::is_arithmetic_v<T>);
    Bytes(std::as_bytes(std::span(&value, 1)));
  }
  void Text(std::string_view text) {
    Value<uint64_t>(text.size());
    Bytes(std::as_bytes(std::span(text.data(), text.size())));
  }
  std::string Hex() const {
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(state_));
    return text;
  }

 private:
  uint64_t state_ = 0xcbf29ce484222325u;
};

void AddConfig(const ModelConfig& config, Hash& hash) {
  hash.Text(ArchitectureName(config.architecture));
  for (int32_t field :
       {config.layers, config.hidden, config.ffn, config.heads, config.kv_heads, config.head_dim,
        config.vocab, config.context_tokens, config.sliding_window}) {
    hash.Value(field);
  }
  hash.Value(config.rms_epsilon);
  for (float frequency : config.inverse_frequency) hash.Value(frequency);
}

void AddSamples(std::span<const std::byte> data, Hash& hash) {
  const size_t size = std::min(kSampleBytes, data.size());
  for (size_t i = 0; i < kSamples; ++i) {
    hash.Bytes(data.subspan((data.size() - size) * i / (kSamples - 1), size));
  }
}

void AddTensor(const TensorView& tensor, Hash& hash) {
  hash.Text(GetTensorTypeInfo(tensor.type).name);
  for (int64_t dim : tensor.shape) hash.Value(dim);
  AddSamples(tensor.data, hash);
  if (tensor.type != TensorType::kAwq4) return;
  hash.Value(tensor.awq.group_cols);
  AddSamples(tensor.awq.zeros, hash);
  AddSamples(tensor.awq.scales, hash);
}

}  // namespace

std::string Fingerprint(const ModelConfig& config, const TensorCatalog& tensors) {
  Hash hash;
  AddConfig(config, hash);
  for (const auto& [name, tensor] : tensors) {
    hash.Text(name);
    AddTensor(tensor, hash);
  }
  return hash.Hex();
}

}  // namespace kvpareto
