#include "tests/bench/cuda_bench_runs.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <random>
#include <span>
#include <utility>

#include "engine/base/check.h"
#include "engine/cuda/cuda_backend.h"
#include "tests/bench/cuda_bench_model.h"

namespace kvpareto::bench {
namespace {

constexpr int kChunk = 4096;
constexpr int kCalls = 320;  // of a kernel, timed together

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point from) {
  return std::chrono::duration<double>(Clock::now() - from).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<KvSpan> SpansOf(const SequenceCache& cache, int layer) {
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

}  // namespace

CudaRuns::CudaRuns(const ModelConfig& config) : config_(config), backend_(*CreateCudaBackend()) {
  ModelWeights weights = RandomWeights(config_, *backend_);
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

double CudaRuns::DecodeStep(const std::string& kv, int count, int depth) {
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

double CudaRuns::Prefill(const std::string& kv, int tokens, int depth) {
  std::vector<double> times;
  for (int i = 0; i < 3; ++i) {
    Fill(kv, 1, depth);
    const auto start = Clock::now();
    for (int done = 0; done < tokens; done += kChunk) Chunk(std::min(kChunk, tokens - done));
    if (i > 0) times.push_back(Seconds(start));
  }
  return *std::min_element(times.begin(), times.end());
}

AttentionArgs CudaRuns::AttentionOver(Activations q, std::byte* out, RowSplit split,
                                      std::span<const AttentionSequence> sequences) const {
  return {.q = q,
          .out = {out, q.rows, config_.heads * config_.head_dim},
          .heads = config_.heads,
          .kv_heads = config_.kv_heads,
          .head_dim = config_.head_dim,
          .scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
          .split = split,
          .sequences = sequences};
}

double CudaRuns::AttentionOnly(const std::string& kv, int count, int depth) {
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
      backend_->Attention(
          AttentionOver({q->data(), count, cols}, out->data(), {.decode_rows = count}, sequences));
    }
    KVP_CHECK(backend_->Synchronize().ok()) << backend_->Synchronize();
    if (repeat >= 2) times.push_back(Seconds(start) / kCalls);
  }
  return Median(times);
}

double CudaRuns::PrefillAttentionOnly(const std::string& kv, int rows, int depth) {
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
    backend_->Attention(AttentionOver({q->data(), rows, cols}, out->data(), {.prefill_rows = rows},
                                      {&sequence, 1}));
    KVP_CHECK(backend_->Synchronize().ok()) << backend_->Synchronize();
    if (repeat >= 2) times.push_back(Seconds(start));
  }
  return Median(times);
}

const Weight* CudaRuns::Project(Projection which, const LayerWeights& layer, Activations x,
                                Activations y, Activations product) {
  const auto project = [&](const Weight* weight, const Weight* norm, bool gated) {
    const Activations in = {x.data, x.rows, weight->cols()};
    const Activations out = {y.data, y.rows, weight->rows()};
    backend_->Project(
        {.norm = {.x = in, .weight = norm, .y = in},
         .linear = {.x = in, .weight = weight, .y = out, .split = {.decode_rows = x.rows}},
         .product = gated ? product : Activations{}});
    return weight;
  };
  switch (which) {
    case Projection::kQkv:
      return project(layer.qkv.get(), layer.attn_norm.get(), false);
    case Projection::kAttentionOutput:
      return project(layer.attn_output.get(), nullptr, false);
    case Projection::kGateUp:
      return project(layer.gate_up.get(), layer.ffn_norm.get(), true);
    case Projection::kDown:
      return project(layer.ffn_down.get(), nullptr, false);
    case Projection::kHead:
      break;
  }
  const ModelWeights& weights = transformer_->weights();
  return project(&weights.head(), weights.output_norm.get(), false);
}

CudaRuns::ProjectionTime CudaRuns::ProjectOnly(Projection which, int rows) {
  const ModelWeights& weights = transformer_->weights();
  auto x = RandomActivations(rows, config_.ffn);  // the widest input
  auto y = RandomActivations(rows, config_.vocab);
  auto product = RandomActivations(rows, config_.ffn);
  ProjectionTime result;
  std::vector<double> times;
  for (int repeat = 0; repeat < 12; ++repeat) {
    const auto start = Clock::now();
    for (int i = 0; i < kCalls; ++i) {
      const Weight* weight =
          Project(which, weights.layers[i % config_.layers], {x->data(), rows, config_.ffn},
                  {y->data(), rows, config_.vocab}, {product->data(), rows, config_.ffn});
      result.weight_bytes = static_cast<double>(WeightBytes(*weight));
    }
    KVP_CHECK(backend_->Synchronize().ok()) << backend_->Synchronize();
    if (repeat >= 2) times.push_back(Seconds(start) / kCalls);
  }
  result.seconds = Median(times);
  return result;
}

double CudaRuns::CacheBytes() const {
  double bytes = 0;
  for (const auto& cache : caches_) bytes += static_cast<double>(cache->live_bytes());
  return bytes;
}

void CudaRuns::Run(const StepBatch& batch) {
  const absl::Status status = transformer_->Forward(
      batch, [](int, int, std::span<float>) {}, [](int, int32_t) {});
  KVP_CHECK(status.ok()) << status;
}

void CudaRuns::Chunk(int tokens) {
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

void CudaRuns::Fill(const std::string& kv, int count, int depth) {
  caches_.clear();
  arena_ = std::make_unique<kv::Arena>(arena_memory_->data(), arena_bytes_,
                                       [this](std::byte* to, const std::byte* from, size_t bytes) {
                                         backend_->Move(to, from, bytes);
                                       });
  KVP_CHECK(arena_->Reserve(arena_bytes_));
  const auto format = std::make_shared<const CacheFormat>(*KvConfig::Parse(kv), config_);
  for (int i = 0; i < count; ++i) {
    caches_.push_back(std::make_unique<SequenceCache>(format, arena_.get()));
    if (depth == 0) continue;
    caches_.back()->Allocate(depth);
    caches_.back()->EndStep();
  }
  if (depth > 0) FillSpans();
}

// Random tokens in all that the sequences hold.
void CudaRuns::FillSpans() {
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

std::unique_ptr<DeviceBuffer> CudaRuns::RandomActivations(int rows, int cols) {
  std::vector<float> values(size_t(rows) * cols);
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  for (float& x : values) x = normal(rng);
  auto buffer = *backend_->Allocate(values.size() * sizeof(float));
  backend_->CopyFromHost(buffer->data(), values.data(), values.size() * sizeof(float));
  return buffer;
}

}  // namespace kvpareto::bench
