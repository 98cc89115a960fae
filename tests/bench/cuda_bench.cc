// The CUDA backend at the shapes of Llama-3.1-8B, Qwen2.5-7B and Mistral-7B with random weights of
// 4 bits in groups of 128, made on the spot: decode and prefill of whole models at several depths
// and KV configs, and of Llama's the kernels alone. Prints one table.
//
// usage: cuda_bench [ROW...]    runs the rows whose name contains one of the words; all by default
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/float16.h"
#include "engine/cuda/cuda_backend.h"
#include "engine/cuda/device_weight.h"
#include "engine/kv/arena.h"
#include "engine/model/transformer.h"
#include "engine/scheduler/sequence_cache.h"

namespace kvpareto {
namespace {

using Clock = std::chrono::steady_clock;

void Check(cudaError_t error) { KVP_CHECK(error == cudaSuccess) << cudaGetErrorString(error); }

double Seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

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
ModelConfig Llama8B() { return Shape("Llama-3.1-8B shape", 32, 4096, 14336, 32, 8, 128256); }
ModelConfig Qwen7B() {
  ModelConfig config = Shape("Qwen2.5-7B shape", 28, 3584, 18944, 28, 4, 152064);
  config.qkv_bias = true;
  return config;
}
ModelConfig Mistral7B() { return Shape("Mistral-7B shape", 32, 4096, 14336, 32, 8, 32768); }

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
  auto memory = *cuda::DeviceMemory::Create(matrix.code_bytes() + matrix.param_bytes());
  matrix.codes = reinterpret_cast<const uint8_t*>(memory->data());
  matrix.params = matrix.codes + matrix.code_bytes();
  random.Fill(memory->data(), matrix.code_bytes());
  const float scale = 1.0f / (4.61f * std::sqrt(static_cast<float>(cols)));
  const uint32_t pair = FloatToF16(scale) | uint32_t{FloatToF16(-7.5f * scale)} << 16;
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

ModelWeights RandomWeights(const ModelConfig& c, Backend& backend, const RandomBytes& random) {
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

size_t WeightBytesPerStep(const ModelWeights& weights) {
  size_t bytes = weights.head().resident_bytes();
  for (const LayerWeights& layer : weights.layers) {
    bytes += layer.qkv->resident_bytes() + layer.attn_output->resident_bytes() +
             layer.gate_up->resident_bytes() + layer.ffn_down->resident_bytes();
  }
  return bytes;
}

// One encoded block of random keys and values, all layers.
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

// The model, an arena over what is left of the card, and sequences of one KV config in it.
class Bench {
 public:
  explicit Bench(const ModelConfig& config) : config_(config), backend_(*CreateCudaBackend()) {
    RandomBytes random;
    ModelWeights weights = RandomWeights(config_, *backend_, random);
    weight_bytes_ = WeightBytesPerStep(weights);
    transformer_ =
        *Transformer::Create(config_, std::move(weights),
                             {.max_decode_rows = 64, .max_prefill_rows = kChunk}, backend_.get());
    size_t free_bytes = 0, total_bytes = 0;
    Check(cudaMemGetInfo(&free_bytes, &total_bytes));
    arena_bytes_ = (free_bytes - (size_t{4} << 30)) / kv::kRegionAlignment * kv::kRegionAlignment;
    arena_memory_ = *backend_->Allocate(arena_bytes_);
    std::printf("%s: weights read per step %.2f GB, workspace %.2f GB, arena %.1f GB\n",
                config_.name.c_str(), weight_bytes_ * 1e-9, transformer_->workspace_bytes() * 1e-9,
                arena_bytes_ * 1e-9);
  }

  static constexpr int kChunk = 4096;
  static constexpr int kCalls = 320;

  // Seconds per step of `count` sequences at `depth`.
  double DecodeStep(const std::string& kv, int count, int depth) {
    Fill(kv, count, depth);
    std::vector<double> times;
    for (int i = 0; i < 24; ++i) {
      StepBatch batch{.decode_rows = count};
      for (auto& cache : caches_) cache->Allocate(1);
      for (int s = 0; s < count; ++s) {
        batch.tokens.push_back(17 * s + i);
        batch.positions.push_back(static_cast<int>(caches_[s]->num_tokens()));
        batch.sequences.push_back(caches_[s]->Describe(s, [] { return BlockSpan{}; }));
        batch.logit_rows.push_back(s);
        batch.sampling.push_back(SampleRow{});
      }
      const auto start = Clock::now();
      Run(batch);
      if (i >= 4) times.push_back(Seconds(start));
      for (auto& cache : caches_) cache->EndStep();
    }
    return Median(times);
  }

  // Seconds for `tokens` tokens behind `depth`.
  double Prefill(const std::string& kv, int tokens, int depth) {
    std::vector<double> times;
    for (int i = 0; i < 3; ++i) {
      Fill(kv, 1, depth);
      const auto start = Clock::now();
      for (int done = 0; done < tokens; done += kChunk) Chunk(std::min(kChunk, tokens - done));
      if (i > 0) times.push_back(Seconds(start));
    }
    return *std::min_element(times.begin(), times.end());
  }

  // Seconds of the attention of one layer for `count` decode rows at `depth`.
  double AttentionOnly(const std::string& kv, int count, int depth) {
    Fill(kv, count, depth);
    const int cols = (config_.heads + 2 * config_.kv_heads) * config_.head_dim;
    auto q = RandomActivations(count, cols);
    auto out = RandomActivations(count, config_.heads * config_.head_dim);
    // Of all layers, so that the host only issues.
    std::vector<std::vector<KvSpan>> spans;
    for (int layer = 0; layer < config_.layers; ++layer) {
      for (int s = 0; s < count; ++s) spans.push_back(SpansOf(*caches_[s], layer));
    }
    std::vector<double> times;
    for (int repeat = 0; repeat < 12; ++repeat) {
      const auto start = Clock::now();
      // Several times over, so that planning the first calls does not count.
      for (int call = 0; call < kCalls; ++call) {
        const int layer = call % config_.layers;
        std::vector<AttentionSequence> sequences;
        for (int s = 0; s < count; ++s) {
          sequences.push_back({.first_row = s,
                               .num_rows = 1,
                               .first_position = depth - 1,
                               .spans = spans[layer * count + s]});
        }
        backend_->Attention({.q = {q->data(), count, cols},
                             .out = {out->data(), count, config_.heads * config_.head_dim},
                             .heads = config_.heads,
                             .kv_heads = config_.kv_heads,
                             .head_dim = config_.head_dim,
                             .scale = 0.0883883f,
                             .split = {.decode_rows = count},
                             .sequences = sequences});
      }
      KVP_CHECK(backend_->Synchronize().ok()) << backend_->Synchronize();
      if (repeat >= 2) times.push_back(Seconds(start) / kCalls);
    }
    return Median(times);
  }

  // Seconds of the attention of one layer for a chunk of `rows` tokens behind `depth`.
  double PrefillAttentionOnly(const std::string& kv, int rows, int depth) {
    Fill(kv, 1, depth + rows);
    const int cols = (config_.heads + 2 * config_.kv_heads) * config_.head_dim;
    auto q = RandomActivations(rows, cols);
    auto out = RandomActivations(rows, config_.heads * config_.head_dim);
    std::vector<double> times;
    for (int repeat = 0; repeat < 12; ++repeat) {
      const std::vector<KvSpan> spans = SpansOf(*caches_[0], repeat % config_.layers);
      const AttentionSequence sequence{
          .first_row = 0, .num_rows = rows, .first_position = depth, .spans = spans};
      const auto start = Clock::now();
      backend_->Attention({.q = {q->data(), rows, cols},
                           .out = {out->data(), rows, config_.heads * config_.head_dim},
                           .heads = config_.heads,
                           .kv_heads = config_.kv_heads,
                           .head_dim = config_.head_dim,
                           .scale = 0.0883883f,
                           .split = {.prefill_rows = rows},
                           .sequences = {&sequence, 1}});
      KVP_CHECK(backend_->Synchronize().ok()) << backend_->Synchronize();
      if (repeat >= 2) times.push_back(Seconds(start));
    }
    return Median(times);
  }

  // The projections of a layer as the model uses them, one after the other through all layers.
  enum class Projection { kQkv, kAttentionOutput, kGateUp, kDown, kHead };
  struct ProjectionTime {
    double seconds = 0;  // of one layer
    double weight_bytes = 0;
  };
  ProjectionTime ProjectOnly(Projection which, int rows) {
    const ModelWeights& weights = transformer_->weights();
    auto x = RandomActivations(rows, config_.ffn);  // the widest input
    auto y = RandomActivations(rows, config_.vocab);
    auto product = RandomActivations(rows, config_.ffn);
    const auto project = [&](const Weight* weight, const Weight* norm, bool gated) {
      const Activations in = {x->data(), rows, weight->cols()};
      const Activations out = {y->data(), rows, weight->rows()};
      backend_->Project(
          {.norm = {.x = in, .weight = norm, .y = in},
           .linear = {.x = in, .weight = weight, .y = out, .split = {.decode_rows = rows}},
           .product = gated ? Activations{product->data(), rows, config_.ffn} : Activations{}});
    };
    const auto run_layer = [&](const LayerWeights& layer) -> const Weight* {
      switch (which) {
        case Projection::kQkv:
          project(layer.qkv.get(), layer.attn_norm.get(), false);
          return layer.qkv.get();
        case Projection::kAttentionOutput:
          project(layer.attn_output.get(), nullptr, false);
          return layer.attn_output.get();
        case Projection::kGateUp:
          project(layer.gate_up.get(), layer.ffn_norm.get(), true);
          return layer.gate_up.get();
        case Projection::kDown:
          project(layer.ffn_down.get(), nullptr, false);
          return layer.ffn_down.get();
        case Projection::kHead:
          break;
      }
      project(&weights.head(), weights.output_norm.get(), false);
      return &weights.head();
    };
    ProjectionTime result;
    std::vector<double> times;
    for (int repeat = 0; repeat < 12; ++repeat) {
      const auto start = Clock::now();
      for (int i = 0; i < kCalls; ++i) {
        const Weight* weight = run_layer(weights.layers[i % config_.layers]);
        result.weight_bytes = static_cast<double>(weight->resident_bytes());
      }
      KVP_CHECK(backend_->Synchronize().ok()) << backend_->Synchronize();
      if (repeat >= 2) times.push_back(Seconds(start) / kCalls);
    }
    result.seconds = Median(times);
    return result;
  }

  // Bytes of cache that `count` sequences at `depth` read per step.
  double CacheBytes() const {
    double bytes = 0;
    for (const auto& cache : caches_) bytes += static_cast<double>(cache->live_bytes());
    return bytes;
  }
  double weight_bytes() const { return static_cast<double>(weight_bytes_); }
  int layers() const { return config_.layers; }
  // Of the attention of one layer: two products of [queries, keys seen] x head_dim.
  double AttentionFlops(double rows, double depth) const {
    return 4.0 * rows * (depth + 0.5 * rows) * config_.heads * config_.head_dim;
  }

 private:
  void Run(const StepBatch& batch) {
    const absl::Status status = transformer_->Forward(
        batch, [](int, int, std::span<float>) {}, [](int, int32_t) {});
    KVP_CHECK(status.ok()) << status;
  }

  std::unique_ptr<DeviceBuffer> RandomActivations(int rows, int cols) {
    std::vector<float> values(size_t(rows) * cols);
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    for (float& x : values) x = normal(rng);
    auto buffer = *backend_->Allocate(values.size() * sizeof(float));
    backend_->CopyFromHost(buffer->data(), values.data(), values.size() * sizeof(float));
    return buffer;
  }

  static std::vector<KvSpan> SpansOf(const SequenceCache& cache, int layer) {
    std::vector<KvSpan> spans;
    for (const BlockSpan& span : cache.Spans()) {
      spans.push_back({.data = span.data,
                       .layout = &span.ForLayer(layer),
                       .first_slot = span.first_slot,
                       .num_tokens = span.num_tokens,
                       .first_position = span.first_position});
    }
    return spans;
  }

  void Chunk(int tokens) {
    SequenceCache& cache = *caches_[0];
    StepBatch batch;
    int tile = 0;
    const int first = static_cast<int>(cache.num_tokens());
    cache.Allocate(tokens);
    batch.sequences.push_back(cache.Describe(0, [&] { return transformer_->ChunkTile(tile++); }));
    for (int i = 0; i < tokens; ++i) {
      batch.tokens.push_back((first + i) % config_.vocab);
      batch.positions.push_back(first + i);
    }
    batch.logit_rows.push_back(tokens - 1);
    Run(batch);
    cache.EndStep();
  }

  void Fill(const std::string& kv, int count, int depth) {
    caches_.clear();
    arena_ = std::make_unique<kv::Arena>(arena_memory_->data(), arena_bytes_,
                                         [this](std::byte* to, const std::byte* from,
                                                size_t bytes) { backend_->Move(to, from, bytes); });
    KVP_CHECK(arena_->Reserve(arena_bytes_));
    const auto format = std::make_shared<const CacheFormat>(*KvConfig::Parse(kv), config_);
    for (int i = 0; i < count; ++i) {
      caches_.push_back(std::make_unique<SequenceCache>(format, arena_.get()));
      if (depth == 0) continue;
      caches_.back()->Allocate(depth);
      caches_.back()->EndStep();
    }
    if (depth == 0) return;
    std::map<const kv::BlockLayout*, std::unique_ptr<DeviceBuffer>> blocks;
    for (const auto& cache : caches_) {
      for (const BlockSpan& span : cache->Spans()) {
        auto& block = blocks[span.layout];
        if (!block) {
          const std::vector<std::byte> host = RandomBlock(*span.layout, config_);
          block = *backend_->Allocate(host.size());
          backend_->CopyFromHost(block->data(), host.data(), host.size());
        }
        Check(cudaMemcpyAsync(span.data, block->data(), block->bytes(), cudaMemcpyDeviceToDevice));
      }
    }
    Check(cudaDeviceSynchronize());
  }

  const ModelConfig config_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> transformer_;
  size_t weight_bytes_ = 0;
  size_t arena_bytes_ = 0;
  std::unique_ptr<DeviceBuffer> arena_memory_;
  std::unique_ptr<kv::Arena> arena_;
  std::vector<std::unique_ptr<SequenceCache>> caches_;
};

struct KvName {
  const char* label;
  const char* config;
};
constexpr KvName kConfigs[] = {
    {"bf16", "k=bf16 v=bf16 sink=0"},
    {"int8", "k=int8-channel v=int8-token"},
    {"int8-token", "k=int8-token v=int8-token"},
    {"int4", "k=int4-channel v=int4-token"},
    {"int4-token", "k=int4-token v=int4-token"},
    {"k8v4", "k=int8-channel v=int4-token"},
};

struct Row {
  std::string name;
  std::function<void(Bench&)> run;
};

void DecodeRow(Bench& bench, const KvName& kv, int count, int depth) {
  const double seconds = bench.DecodeStep(kv.config, count, depth);
  const double bytes = bench.weight_bytes() + bench.CacheBytes();
  std::printf("decode  %3d x %6d  %-10s  %8.1f tok/s  %7.3f ms  %.2f TB/s\n", count, depth,
              kv.label, count / seconds, seconds * 1e3, bytes / seconds * 1e-12);
  std::fflush(stdout);
}

void PrefillRow(Bench& bench, const KvName& kv, int tokens, int depth) {
  const double seconds = bench.Prefill(kv.config, tokens, depth);
  std::printf("prefill %6d at %6d  %-10s  %8.0f tok/s  %7.1f ms\n", tokens, depth, kv.label,
              tokens / seconds, seconds * 1e3);
  std::fflush(stdout);
}

void AttentionRow(Bench& bench, const KvName& kv, int count, int depth) {
  const double seconds = bench.AttentionOnly(kv.config, count, depth);
  const double bytes = bench.CacheBytes() / bench.layers();
  std::printf("kernel  %3d x %6d  %-10s  %8.1f us     %.2f TB/s of cache\n", count, depth, kv.label,
              seconds * 1e6, bytes / seconds * 1e-12);
  std::fflush(stdout);
}

void PrefillAttentionRow(Bench& bench, const KvName& kv, int rows, int depth) {
  const double seconds = bench.PrefillAttentionOnly(kv.config, rows, depth);
  std::printf("kernel %5d at %6d  %-10s  %8.1f us     %.0f TFLOP/s\n", rows, depth, kv.label,
              seconds * 1e6, bench.AttentionFlops(rows, depth) / seconds * 1e-12);
  std::fflush(stdout);
}

void ProjectionRow(Bench& bench, const char* label, Bench::Projection which, int count) {
  const Bench::ProjectionTime time = bench.ProjectOnly(which, count);
  std::printf("linear  %3d x %-16s  %8.1f us     %.2f TB/s of weights\n", count, label,
              time.seconds * 1e6, time.weight_bytes / time.seconds * 1e-12);
  std::fflush(stdout);
}

// Of the other models: the ends of the range of depths.
std::vector<Row> ModelRows(const std::string& model) {
  std::vector<Row> rows;
  for (const KvName& kv : kConfigs) {
    const std::string label = kv.label;
    if (label == "int8" || label == "int4" || label == "k8v4") continue;
    for (const int depth : {0, 131072}) {
      rows.push_back({absl::StrCat(model, " decode 1x", depth, " ", label),
                      [&kv, depth](Bench& b) { DecodeRow(b, kv, 1, depth); }});
    }
    for (const int depth : {0, 122880}) {  // up to 131072 tokens
      rows.push_back({absl::StrCat(model, " prefill 8192 at ", depth, " ", label),
                      [&kv, depth](Bench& b) { PrefillRow(b, kv, 8192, depth); }});
    }
  }
  return rows;
}

std::vector<Row> LlamaRows() {
  std::vector<Row> rows;
  const auto add = [&](const std::string& name, std::function<void(Bench&)> run) {
    rows.push_back({name, std::move(run)});
  };
  for (const int count : {1, 8, 16, 32, 56}) {
    for (const auto& [label, which] :
         {std::pair("qkv", Bench::Projection::kQkv),
          std::pair("attention output", Bench::Projection::kAttentionOutput),
          std::pair("gate+up", Bench::Projection::kGateUp),
          std::pair("down", Bench::Projection::kDown),
          std::pair("head", Bench::Projection::kHead)}) {
      add(absl::StrCat("linear ", count, "x ", label),
          [=](Bench& b) { ProjectionRow(b, label, which, count); });
    }
  }
  for (const auto& [count, depth] :
       {std::pair(16, 32768), std::pair(16, 8192), std::pair(1, 32768), std::pair(1, 131072)}) {
    for (const KvName& kv : kConfigs) {
      if (count == 16 && depth == 32768 && kv.label == std::string("bf16")) {
        add(absl::StrCat("kernel 12x32768 bf16"),
            [&kv](Bench& b) { AttentionRow(b, kv, 12, 32768); });
        continue;
      }
      add(absl::StrCat("kernel ", count, "x", depth, " ", kv.label),
          [&kv, count = count, depth = depth](Bench& b) { AttentionRow(b, kv, count, depth); });
    }
  }
  for (const auto& [count, depth] :
       {std::pair(1, 0), std::pair(1, 8192), std::pair(1, 32768), std::pair(1, 131072),
        std::pair(16, 8192), std::pair(56, 32768)}) {
    for (const KvName& kv : kConfigs) {
      if (count == 56 && std::string(kv.config).find("v=int4") == std::string::npos) continue;
      if (count == 56 && kv.label == std::string("k8v4")) continue;
      add(absl::StrCat("decode ", count, "x", depth, " ", kv.label),
          [&kv, count = count, depth = depth](Bench& b) { DecodeRow(b, kv, count, depth); });
    }
  }
  for (const int depth : {0, 32768}) {
    for (const KvName& kv : kConfigs) {
      add(absl::StrCat("kernel 4096 at ", depth, " ", kv.label),
          [&kv, depth](Bench& b) { PrefillAttentionRow(b, kv, 4096, depth); });
      add(absl::StrCat("prefill 8192 at ", depth, " ", kv.label),
          [&kv, depth](Bench& b) { PrefillRow(b, kv, 8192, depth); });
    }
  }
  return rows;
}

int Main(int argc, char** argv) {
  cudaDeviceProp properties;
  Check(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s, %.1f GB\n", properties.name, properties.totalGlobalMem * 1e-9);
  const auto wanted = [&](const Row& row) {
    return argc < 2 || std::any_of(argv + 1, argv + argc, [&](const char* word) {
             return row.name.find(word) != std::string::npos;
           });
  };
  for (const auto& [config, rows] :
       {std::pair(Llama8B(), LlamaRows()), std::pair(Qwen7B(), ModelRows("qwen")),
        std::pair(Mistral7B(), ModelRows("mistral"))}) {
    if (std::none_of(rows.begin(), rows.end(), wanted)) continue;
    Bench bench(config);
    for (const Row& row : rows) {
      if (wanted(row)) row.run(bench);
    }
  }
  return 0;
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) { return kvpareto::Main(argc, argv); }
