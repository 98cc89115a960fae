// What the forward pass needs to know about a model, whatever file it came from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace kvpareto {

enum class Architecture : uint8_t { kLlama, kQwen2, kQwen3, kMistral };
std::string_view ArchitectureName(Architecture architecture);

struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::string name;  // as the file says, for people
  int layers = 0;
  int hidden = 0;
  int ffn = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;  // a multiple of 16 up to 256; need not be hidden / heads
  int vocab = 0;
  int context_tokens = 0;
  float rms_epsilon = 1e-5f;
  int sliding_window = 0;  // tokens; 0: full attention
  bool qkv_bias = false;
  bool qk_norm = false;
  bool tied_head = false;
  std::vector<float> inverse_frequency;  // [head_dim / 2], RoPE scaling (linear, llama3) applied
  std::vector<int32_t> eos_tokens;
  int32_t bos_token = -1;

  // Errors: INVALID_ARGUMENT naming the field that is out of range or contradicts another.
  absl::Status Validate() const;
};

// RoPE frequencies base^(-2i/d), i < d/2, before any scaling.
std::vector<float> RopeInverseFrequency(double base, int head_dim);
// Linear position interpolation: divides by factor.
void ApplyLinearRopeScaling(double factor, std::vector<float>& inverse_frequency);
// Llama-3.1: wavelengths above original_context / low_freq_factor are divided by `factor`, those
// below original_context / high_freq_factor kept, between them interpolated (as in transformers).
struct Llama3RopeScaling {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_context_tokens = 8192;
};
void ApplyLlama3RopeScaling(const Llama3RopeScaling& scaling,
                            std::vector<float>& inverse_frequency);

}  // namespace kvpareto
