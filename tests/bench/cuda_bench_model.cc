#include "tests/bench/cuda_bench_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <utility>

#include "engine/base/float16.h"
#include "engine/cuda/device_weight.h"
#include "engine/kv/codec.h"

namespace kvpareto::bench {
namespace {

ModelConfig Shape(const char* name, int layers, int hidden, int ffn, int heads, int kv_heads,
                  int vocab) {
  ModelConfig config;
  config.name = name;
  config.layers = layers;
  config.hidden = hidden;
  config.ffn = ffn;
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.head_dim = 128;
  config.vocab = vocab;
  config.context_tokens = 131072 + 8192;
  config.inverse_frequency = RopeInverseFrequency(500000.0, 128);
  return config;
}

// Random bytes once, copied wherever device memory is to be filled.
class RandomBytes {
 public:
  static constexpr size_t kBytes = size_t{32} << 20;
  RandomBytes() {
    std::vector<uint32_t> words(kBytes / 4);
    std::mt19937 rng(1);
    for (uint32_t& word : words) word = rng();
    Check(cudaMalloc(&data_, kBytes));
    Check(cudaMemcpy(data_, words.data(), kBytes, cudaMemcpyHostToDevice));
  }
  ~RandomBytes() { cudaFree(data_); }
  void Fill(void* to, size_t bytes) const {
    for (size_t done = 0; done < bytes; done += kBytes) {
      Check(cudaMemcpy(static_cast<std::byte*>(to) + done, data_, std::min(kBytes, bytes - done),
                       cudaMemcpyDeviceToDevice));
    }
  }

 private:
  void* data_ = nullptr;
};

// Random 4-bit codes in groups of 128, symmetric, of standard deviation 1 / sqrt(cols).
std::unique_ptr<Weight> RandomInt4(int rows, int cols, const RandomBytes& random) {
  cuda::PackedMatrix matrix;
  matrix.format = cuda::CodeFormat::kInt4;
  matrix.rows = rows;
  matrix.cols = cols;
  matrix.blocks = cols / cuda::kBlockCols;
  matrix.group = 128;
  matrix.param_kind = cuda::ParamKind::kHalfZero;
  auto memory = *cuda::DeviceMemory::Create(matrix.code_bytes() + matrix.param_bytes());
  matrix.codes = reinterpret_cast<const uint8_t*>(memory->data());
  matrix.params = matrix.codes + matrix.code_bytes();
  random.Fill(memory->data(), matrix.code_bytes());
  const float scale = 1.0f / (4.61f * std::sqrt(static_cast<float>(cols)));
  const uint32_t pair = FloatToF16(scale) | uint32_t{FloatToF16(7.5f)} << 16;
  const std::vector<uint32_t> params(matrix.param_bytes() / 4, pair);
  Check(cudaMemcpy(memory->data() + matrix.code_bytes(), params.data(), matrix.param_bytes(),
                   cudaMemcpyHostToDevice));
  return cuda::DeviceWeight::FromPacked(matrix, std::move(memory));
}

std::unique_ptr<Weight> Ones(Backend& backend, int cols) {
  const std::vector<float> values(cols, 1.0f);
  const TensorView view{.name = "norm",
                        .type = TensorType::kF32,
                        .shape = {cols},
                        .data = std::as_bytes(std::span(values)),
                        .interleaved_head_dim = 0};
  return *backend.LoadWeight({&view, 1});
}

}  // namespace

ModelConfig Llama8B() { return Shape("Llama-3.1-8B shape", 32, 4096, 14336, 32, 8, 128256); }
ModelConfig Qwen7B() {
  ModelConfig config = Shape("Qwen2.5-7B shape", 28, 3584, 18944, 28, 4, 152064);
  config.qkv_bias = true;
  return config;
}
ModelConfig Mistral7B() { return Shape("Mistral-7B shape", 32, 4096, 14336, 32, 8, 32768); }

ModelWeights RandomWeights(const ModelConfig& c, Backend& backend) {
  const RandomBytes random;
  ModelWeights weights;
  weights.embedding = RandomInt4(c.vocab, c.hidden, random);
  weights.output = RandomInt4(c.vocab, c.hidden, random);
  weights.output_norm = Ones(backend, c.hidden);
  for (int i = 0; i < c.layers; ++i) {
    LayerWeights& layer = weights.layers.emplace_back();
    layer.attn_norm = Ones(backend, c.hidden);
    layer.ffn_norm = Ones(backend, c.hidden);
    layer.qkv = RandomInt4((c.heads + 2 * c.kv_heads) * c.head_dim, c.hidden, random);
    if (c.qkv_bias) layer.qkv_bias = Ones(backend, (c.heads + 2 * c.kv_heads) * c.head_dim);
    layer.attn_output = RandomInt4(c.hidden, c.heads * c.head_dim, random);
    layer.gate_up = RandomInt4(2 * c.ffn, c.hidden, random);
    layer.ffn_down = RandomInt4(c.hidden, c.ffn, random);
  }
  return weights;
}

size_t WeightBytes(const Weight& matrix) {
  size_t bytes = 0;
  for (const auto& part : static_cast<const cuda::DeviceWeight&>(matrix).matrices()) {
    bytes += part.code_bytes() + part.param_bytes();
  }
  return bytes;
}

size_t WeightBytesPerStep(const ModelWeights& weights) {
  size_t bytes = WeightBytes(weights.head());
  for (const LayerWeights& layer : weights.layers) {
    for (const auto& matrix : {&layer.qkv, &layer.attn_output, &layer.gate_up, &layer.ffn_down}) {
      bytes += WeightBytes(**matrix);
    }
  }
  return bytes;
}

std::vector<std::byte> RandomBlock(const kv::BlockLayout& layout, const ModelConfig& c) {
  std::vector<std::byte> block(layout.bytes());
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  const int tokens = layout.layer(0).tile_tokens;
  std::vector<float> tile(size_t(tokens) * c.head_dim);
  for (int l = 0; l < layout.num_layers(); ++l) {
    const kv::LayerLayout& layer = layout.layer(l);
    for (int h = 0; h < 2 * c.kv_heads; ++h) {
      const bool key = h < c.kv_heads;
      const kv::CodecId codec = key ? layer.k_codec : layer.v_codec;
      std::byte* to = block.data() + (key ? layer.k_offset + h * layer.k_tile_bytes
                                          : layer.v_offset + (h - c.kv_heads) * layer.v_tile_bytes);
      // The same tiles for all layers: encoding them is slow, and their values cost nothing.
      if (l > 0) {
        const kv::LayerLayout& first = layout.layer(0);
        const size_t bytes = key ? layer.k_tile_bytes : layer.v_tile_bytes;
        std::copy_n(block.data() + (key ? first.k_offset + h * bytes
                                        : first.v_offset + (h - c.kv_heads) * bytes),
                    bytes, to);
        continue;
      }
      for (float& x : tile) x = normal(rng);
      if (tokens == kv::kBlockTokens) {
        kv::EncodeTile(codec, key ? kv::Role::kKey : kv::Role::kValue, c.head_dim, {}, tile.data(),
                       to);
      } else {
        for (size_t i = 0; i < tile.size(); ++i) {
          const uint16_t half = FloatToBf16(tile[i]);
          std::memcpy(to + 2 * i, &half, 2);
        }
      }
    }
  }
  return block;
}

}  // namespace kvpareto::bench
