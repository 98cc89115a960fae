// Linear layers on the CPU at the shapes of real models: GB/s of weights for decode rows (floor:
// the memory), GFLOP/s for prefill rows (floor: AMX or vdpbf16ps). Arguments: weight type, outputs,
// columns, rows, threads.
#include <benchmark/benchmark.h>

#include "engine/cpu/linear.h"
#include "tests/bench/bench_isa.h"
#include "tests/cpu/random_weight.h"

namespace kvpareto::cpu {
namespace {

// Weights of this many bytes are walked through in turn, so that decode reads memory, not cache.
constexpr size_t kWorkingSetBytes = 96 << 20;

class Layer {
 public:
  Layer(TensorType type, int outputs, int cols, int rows, int threads)
      : pool_(threads), kernel_(BenchIsa(), &pool_), rows_(rows), outputs_(outputs), cols_(cols) {
    const RandomTensor tensor = MakeRandomTensor(type, outputs, cols, 1);
    size_t bytes = 0;
    do {
      auto weight = PackedWeight::Load({&tensor.view, 1}, pool_, regions_);
      bytes += (*weight)->resident_bytes();
      weights_.push_back(std::move(*weight));
    } while (bytes < kWorkingSetBytes);
    kernel_.Reserve(cols);
    x_ = RandomFloats(static_cast<size_t>(rows) * cols, 2);
    y_.resize(static_cast<size_t>(rows) * outputs);
  }

  void Run(RowSplit split) {
    kernel_.Run({.x = {reinterpret_cast<std::byte*>(x_.data()), rows_, cols_},
                 .weight = weights_[next_].get(),
                 .bias = nullptr,
                 .y = {reinterpret_cast<std::byte*>(y_.data()), rows_, outputs_},
                 .split = split});
    next_ = (next_ + 1) % weights_.size();
  }

  size_t weight_bytes() const { return weights_[0]->resident_bytes(); }

 private:
  ThreadPool pool_;
  HostRegions regions_;
  LinearKernel kernel_;
  std::vector<std::unique_ptr<PackedWeight>> weights_;
  size_t next_ = 0;
  int rows_, outputs_, cols_;
  std::vector<float> x_, y_;
};

Layer MakeLayer(const benchmark::State& state) {
  return Layer(static_cast<TensorType>(state.range(0)), state.range(1), state.range(2),
               state.range(3), state.range(4));
}

void Decode(benchmark::State& state) {
  Layer layer = MakeLayer(state);
  for (auto _ : state) layer.Run({static_cast<int>(state.range(3)), 0});
  state.SetBytesProcessed(state.iterations() * layer.weight_bytes());
  state.SetLabel(std::string(GetTensorTypeInfo(static_cast<TensorType>(state.range(0))).name));
}

void Prefill(benchmark::State& state) {
  Layer layer = MakeLayer(state);
  for (auto _ : state) layer.Run({0, static_cast<int>(state.range(3))});
  const double flops = 2.0 * state.range(1) * state.range(2) * state.range(3);
  state.counters["flops"] =
      benchmark::Counter(flops * state.iterations(), benchmark::Counter::kIsRate);
  state.SetLabel(std::string(GetTensorTypeInfo(static_cast<TensorType>(state.range(0))).name));
}

void DecodeShapes(benchmark::internal::Benchmark* bench) {
  const auto add = [&](TensorType type, int outputs, int cols, int rows) {
    for (const int threads : {1, 2})
      bench->Args({static_cast<int>(type), outputs, cols, rows, threads});
  };
  add(TensorType::kQ4_1, 3072, 576, 1);  // SmolLM2 gate and up
  add(TensorType::kQ4_1, 576, 1536, 1);
  add(TensorType::kQ4_1, 3072, 576, 8);
  add(TensorType::kQ8_0, 49152, 576, 1);
  for (const TensorType type : {TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                                TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ4_K,
                                TensorType::kQ5_K, TensorType::kQ6_K, TensorType::kBf16}) {
    add(type, 4096, 1536, 1);
  }
}

void PrefillShapes(benchmark::internal::Benchmark* bench) {
  const auto add = [&](TensorType type, int outputs, int cols, int rows) {
    for (const int threads : {1, 2})
      bench->Args({static_cast<int>(type), outputs, cols, rows, threads});
  };
  add(TensorType::kQ4_1, 1536, 576, 512);
  add(TensorType::kQ4_1, 3072, 576, 512);
  add(TensorType::kQ4_1, 576, 1536, 512);
  add(TensorType::kQ4_1, 960, 576, 512);
  add(TensorType::kQ5_0, 9728, 896, 512);
  add(TensorType::kQ4_K, 896, 4864, 512);
  add(TensorType::kQ6_K, 1536, 8960, 512);
  add(TensorType::kBf16, 1536, 576, 512);
  add(TensorType::kQ4_1, 3072, 576, 64);
}

BENCHMARK(Decode)->Apply(DecodeShapes)->UseRealTime();
BENCHMARK(Prefill)->Apply(PrefillShapes)->UseRealTime();

}  // namespace
}  // namespace kvpareto::cpu

BENCHMARK_MAIN();
