// Speed of attention, KV stores and sealing. Each result states its work as a rate: "flop" of the
// two products over visible keys, "bytes" of the KV cache read. Compare with what the machine can
// do (docs of your CPU, or a STREAM-like read loop).
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "engine/base/float16.h"
#include "engine/cpu/attention.h"
#include "engine/kv/block_layout.h"
#include "tests/bench/bench_isa.h"

namespace kvpareto::cpu {
namespace {

struct Shape {
  int heads;
  int kv_heads;
  int head_dim;
};
constexpr Shape kSmolLm2 = {9, 3, 64};
constexpr Shape kLlama8b = {32, 8, 128};
constexpr Shape kQwenHalfB = {14, 2, 64};
constexpr Shape kQwen1B5 = {12, 2, 128};

struct FreeBytes {
  void operator()(std::byte* data) const { std::free(data); }
};
using Bytes = std::unique_ptr<std::byte, FreeBytes>;

// On huge pages, as the engine's arena.
Bytes Allocate(size_t bytes) {
  constexpr size_t kHugePageBytes = size_t{2} << 20;
  const size_t rounded = kv::AlignUp(bytes, kHugePageBytes);
  Bytes memory(static_cast<std::byte*>(std::aligned_alloc(kHugePageBytes, rounded)));
  ::madvise(memory.get(), rounded, MADV_HUGEPAGE);
  return memory;
}

// One layer of a cache of `blocks` full blocks. `layers` copies of it are walked in turn, so that
// a step finds its data where a real step would: not in the caches it left it in.
struct Cache {
  kv::BlockLayout layout;
  Bytes memory;
  std::vector<std::vector<KvSpan>> layers;
  std::vector<kv::StaticRange> ranges;
};

Cache MakeCache(const Shape& shape, kv::LayerCodecs codecs, int blocks, int layers) {
  Cache cache;
  const std::vector<kv::LayerCodecs> all(layers, codecs);
  cache.layout = kv::BlockLayout(all, shape.kv_heads, shape.head_dim);
  cache.memory = Allocate(cache.layout.bytes() * blocks);
  cache.ranges.assign(shape.kv_heads, {-3.0f, 3.0f});

  std::mt19937 rng(1);
  std::normal_distribution<float> normal;
  std::vector<float> tile(kv::kBlockTokens * shape.head_dim);
  for (float& x : tile) x = normal(rng);
  Bytes k_tile = Allocate(kv::TileBytes(codecs.k, kv::Role::kKey, shape.head_dim));
  Bytes v_tile = Allocate(kv::TileBytes(codecs.v, kv::Role::kValue, shape.head_dim));
  kv::EncodeTile(codecs.k, kv::Role::kKey, shape.head_dim, {-3, 3}, tile.data(), k_tile.get());
  kv::EncodeTile(codecs.v, kv::Role::kValue, shape.head_dim, {-3, 3}, tile.data(), v_tile.get());

  cache.layers.resize(layers);
  for (int b = 0; b < blocks; ++b) {
    std::byte* const block = cache.memory.get() + b * cache.layout.bytes();
    for (int l = 0; l < layers; ++l) {
      const kv::LayerLayout& layer = cache.layout.layer(l);
      for (int h = 0; h < shape.kv_heads; ++h) {
        std::memcpy(block + layer.k_offset + h * layer.k_tile_bytes, k_tile.get(),
                    layer.k_tile_bytes);
        std::memcpy(block + layer.v_offset + h * layer.v_tile_bytes, v_tile.get(),
                    layer.v_tile_bytes);
      }
      cache.layers[l].push_back({.data = block,
                                 .layout = &layer,
                                 .num_tokens = kv::kBlockTokens,
                                 .first_position = b * kv::kBlockTokens});
    }
  }
  return cache;
}

kv::LayerCodecs Codecs(const char* k, const char* v) {
  return {kv::FindCodec(k).value(), kv::FindCodec(v).value()};
}

void RunAttention(benchmark::State& state, const Shape& shape, kv::LayerCodecs codecs, int rows,
                  bool decode, int layers, bool key_bias = false) {
  const int tokens = static_cast<int>(state.range(0));
  const int threads = static_cast<int>(state.range(1));
  const Cache cache = MakeCache(shape, codecs, tokens / kv::kBlockTokens, layers);
  std::vector<float> q(static_cast<size_t>(rows) * shape.heads * shape.head_dim);
  std::vector<float> out(q.size());
  std::mt19937 rng(2);
  std::normal_distribution<float> normal;
  for (float& x : q) x = normal(rng);

  AttentionSequence sequence = {.num_rows = rows, .first_position = tokens - rows, .spans = {}};
  AttentionArgs args;
  args.q = {reinterpret_cast<std::byte*>(q.data()), rows, shape.heads * shape.head_dim};
  args.out = {reinterpret_cast<std::byte*>(out.data()), rows, shape.heads * shape.head_dim};
  args.heads = shape.heads;
  args.kv_heads = shape.kv_heads;
  args.head_dim = shape.head_dim;
  args.scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim));
  args.split = decode ? RowSplit{.decode_rows = rows} : RowSplit{.prefill_rows = rows};
  args.sequences = {&sequence, 1};
  sequence.k_ranges = sequence.v_ranges = cache.ranges;
  std::vector<float> frequencies(shape.head_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    frequencies[i] = std::pow(1e6f, -2.0f * static_cast<float>(i) / shape.head_dim);
  }
  args.bias_query = args.q;  // any floats
  args.inverse_frequency = frequencies;
  sequence.key_bias = key_bias;

  ThreadPool pool(threads);
  const auto attention = AttentionKernel::Create(BenchIsa(), &pool);
  int layer = 0;
  for (auto _ : state) {
    sequence.spans = cache.layers[layer];
    layer = (layer + 1) % layers;
    attention->Run(args);
    benchmark::ClobberMemory();
  }
  const double keys = static_cast<double>(rows) * (tokens - rows) + 0.5 * rows * (rows + 1.0);
  const double cache_bytes =
      static_cast<double>(cache.layout.bytes()) / layers * (tokens / kv::kBlockTokens);
  state.counters["flop"] = benchmark::Counter(
      4.0 * keys * shape.heads * shape.head_dim * state.iterations(), benchmark::Counter::kIsRate);
  state.counters["bytes"] =
      benchmark::Counter(cache_bytes * state.iterations(), benchmark::Counter::kIsRate);
}

void Prefill(benchmark::State& state, Shape shape, const char* k, const char* v) {
  RunAttention(state, shape, Codecs(k, v), static_cast<int>(state.range(0)), false, 1);
}

// As SmolLM2: 30 layers in turn.
void Decode(benchmark::State& state, Shape shape, const char* k, const char* v) {
  RunAttention(state, shape, Codecs(k, v), 1, true, 30);
}

// One layer again and again: a cache of 1024 tokens stays in the processor's.
void DecodeCached(benchmark::State& state, Shape shape, const char* k, const char* v) {
  RunAttention(state, shape, Codecs(k, v), 1, true, 1);
}

// With the key bias term, as a flagged layer of Qwen2.5, and without.
void BiasedPrefill(benchmark::State& state, Shape shape, bool key_bias) {
  RunAttention(state, shape, Codecs("int4-channel", "int4-token"), static_cast<int>(state.range(0)),
               false, 1, key_bias);
}
void BiasedDecode(benchmark::State& state, Shape shape, bool key_bias) {
  RunAttention(state, shape, Codecs("int4-channel", "int4-token"), 1, true, 24, key_bias);
}

void PrefillSizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "threads"})->ArgsProduct({{2048, 8128}, {1, 2}});
  b->Unit(benchmark::kMillisecond)->UseRealTime();
}
void DecodeSizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "threads"})->ArgsProduct({{2048, 8128}, {1, 2}});
  b->Unit(benchmark::kMicrosecond)->UseRealTime();
}

BENCHMARK_CAPTURE(Prefill, smollm2_bf16, kSmolLm2, "bf16", "bf16")->Apply(PrefillSizes);
BENCHMARK_CAPTURE(Prefill, smollm2_int4_channel_token_g32, kSmolLm2, "int4-channel",
                  "int4-token-g32")
    ->Apply(PrefillSizes);
BENCHMARK_CAPTURE(Prefill, smollm2_int4, kSmolLm2, "int4-channel", "int4-token")
    ->Apply(PrefillSizes);
BENCHMARK_CAPTURE(Prefill, qwen1_5b_bf16, kQwen1B5, "bf16", "bf16")->Apply(PrefillSizes);
BENCHMARK_CAPTURE(Prefill, qwen1_5b_int4, kQwen1B5, "int4-channel", "int4-token")
    ->Apply(PrefillSizes);
BENCHMARK_CAPTURE(Prefill, llama8b_bf16, kLlama8b, "bf16", "bf16")
    ->ArgNames({"tokens", "threads"})
    ->Args({2048, 1})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

BENCHMARK_CAPTURE(Decode, smollm2_bf16, kSmolLm2, "bf16", "bf16")->Apply(DecodeSizes);
BENCHMARK_CAPTURE(Decode, smollm2_int8_token, kSmolLm2, "int8-token", "int8-token")
    ->Apply(DecodeSizes);
BENCHMARK_CAPTURE(Decode, smollm2_int8, kSmolLm2, "int8-channel", "int8-token")->Apply(DecodeSizes);
BENCHMARK_CAPTURE(Decode, smollm2_int4, kSmolLm2, "int4-channel", "int4-token")->Apply(DecodeSizes);
BENCHMARK_CAPTURE(Decode, smollm2_int4_channel_token_g32, kSmolLm2, "int4-channel",
                  "int4-token-g32")
    ->Apply(DecodeSizes);
BENCHMARK_CAPTURE(Decode, smollm2_int4_token_g32, kSmolLm2, "int4-token-g32", "int4-token-g32")
    ->Apply(DecodeSizes);

void CachedSizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "threads"})->Args({1024, 1})->Unit(benchmark::kMicrosecond);
  b->UseRealTime();
}
BENCHMARK_CAPTURE(DecodeCached, smollm2_bf16, kSmolLm2, "bf16", "bf16")->Apply(CachedSizes);
BENCHMARK_CAPTURE(DecodeCached, smollm2_int8, kSmolLm2, "int8-channel", "int8-token")
    ->Apply(CachedSizes);
BENCHMARK_CAPTURE(DecodeCached, smollm2_int4, kSmolLm2, "int4-channel", "int4-token")
    ->Apply(CachedSizes);

void BiasSizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"tokens", "threads"})->Args({8128, 1})->Unit(benchmark::kMicrosecond);
  b->UseRealTime();
}
BENCHMARK_CAPTURE(BiasedPrefill, qwen0_5b_plain, kQwenHalfB, false)->Apply(BiasSizes);
BENCHMARK_CAPTURE(BiasedPrefill, qwen0_5b_bias, kQwenHalfB, true)->Apply(BiasSizes);
BENCHMARK_CAPTURE(BiasedPrefill, qwen1_5b_plain, kQwen1B5, false)->Apply(BiasSizes);
BENCHMARK_CAPTURE(BiasedPrefill, qwen1_5b_bias, kQwen1B5, true)->Apply(BiasSizes);
BENCHMARK_CAPTURE(BiasedDecode, qwen0_5b_plain, kQwenHalfB, false)->Apply(BiasSizes);
BENCHMARK_CAPTURE(BiasedDecode, qwen0_5b_bias, kQwenHalfB, true)->Apply(BiasSizes);
BENCHMARK_CAPTURE(BiasedDecode, qwen1_5b_plain, kQwen1B5, false)->Apply(BiasSizes);
BENCHMARK_CAPTURE(BiasedDecode, qwen1_5b_bias, kQwen1B5, true)->Apply(BiasSizes);

// Rows of a prefill chunk into open blocks, then those blocks into their codec's form.
void StoreAndSeal(benchmark::State& state, const char* codec) {
  const Shape shape = kSmolLm2;
  const int blocks = 8;
  const auto codecs = Codecs(codec, codec);
  const kv::BlockLayout open = kv::BlockLayout::Bf16(1, shape.kv_heads, shape.head_dim);
  const std::vector<kv::LayerCodecs> layer = {codecs};
  const kv::BlockLayout sealed(layer, shape.kv_heads, shape.head_dim);
  Bytes from = Allocate(open.bytes() * blocks), to = Allocate(sealed.bytes() * blocks);
  const int columns = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  std::vector<float> qkv(static_cast<size_t>(blocks) * kv::kBlockTokens * columns);
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  for (float& x : qkv) x = normal(rng);

  std::vector<StoreKvItem> stores;
  std::vector<SealItem> seals;
  for (int b = 0; b < blocks; ++b) {
    stores.push_back({.destination = {.data = from.get() + b * open.bytes(),
                                      .layout = &open.layer(0),
                                      .num_tokens = kv::kBlockTokens},
                      .first_row = b * kv::kBlockTokens});
    seals.push_back({.source = from.get() + b * open.bytes(),
                     .source_layout = &open.layer(0),
                     .destination = to.get() + b * sealed.bytes(),
                     .destination_layout = &sealed.layer(0)});
  }
  const std::vector<kv::StaticRange> ranges(shape.kv_heads, {-3.0f, 3.0f});
  StoreKvArgs store = {
      .qkv = {reinterpret_cast<std::byte*>(qkv.data()), blocks * kv::kBlockTokens, columns},
      .k_first_col = shape.heads * shape.head_dim,
      .v_first_col = (shape.heads + shape.kv_heads) * shape.head_dim,
      .kv_heads = shape.kv_heads,
      .head_dim = shape.head_dim,
      .items = stores};
  SealArgs seal = {.kv_heads = shape.kv_heads, .head_dim = shape.head_dim, .items = seals};
  for (SealItem& item : seals) item.k_ranges = item.v_ranges = ranges;
  ThreadPool pool(1);
  for (auto _ : state) {
    StoreKv(BenchIsa(), pool, store);
    Seal(BenchIsa(), pool, seal);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * blocks * kv::kBlockTokens);
}
BENCHMARK_CAPTURE(StoreAndSeal, bf16, "bf16")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(StoreAndSeal, int4_channel, "int4-channel")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(StoreAndSeal, int4_token_g32, "int4-token-g32")->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace kvpareto::cpu

BENCHMARK_MAIN();
