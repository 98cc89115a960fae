// The CUDA backend at the shapes of Llama-3.1-8B, Qwen2.5-7B and Mistral-7B with random weights of
// 4 bits in groups of 128, made on the spot: decode and prefill of whole models at several depths
// and KV configs, and of Llama's the kernels alone. Prints one table.
//
// usage: cuda_bench [ROW...]    runs the rows whose name contains one of the words; all by default
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/bench/cuda_bench_model.h"
#include "tests/bench/cuda_bench_runs.h"

namespace kvpareto::bench {
namespace {

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
// Other rows of tables. The last has no decode kernel: its sealed tiles are read as bf16, decoded
// before.
constexpr KvName kOtherConfigs[] = {
    {"k6v6", "k=int6-channel v=int6-token"},           {"k6v4", "k=int6-channel v=int4-token"},
    {"k4v2-g32", "k=int4-channel v=int2-token-g32"},   {"int3", "k=int3-channel v=int3-token"},
    {"int4-g64", "k=int4-token-g64 v=int4-token-g64"},
};

struct Row {
  std::string name;
  std::function<void(CudaRuns&)> run;
};

void DecodeRow(CudaRuns& bench, const KvName& kv, int count, int depth) {
  const double seconds = bench.DecodeStep(kv.config, count, depth);
  const double bytes = bench.weight_bytes() + bench.CacheBytes();
  std::printf("decode  %3d x %6d  %-10s  %8.1f tok/s  %7.3f ms  %.2f TB/s\n", count, depth,
              kv.label, count / seconds, seconds * 1e3, bytes / seconds * 1e-12);
  std::fflush(stdout);
}

void PrefillRow(CudaRuns& bench, const KvName& kv, int tokens, int depth) {
  const double seconds = bench.Prefill(kv.config, tokens, depth);
  std::printf("prefill %6d at %6d  %-10s  %8.0f tok/s  %7.1f ms\n", tokens, depth, kv.label,
              tokens / seconds, seconds * 1e3);
  std::fflush(stdout);
}

void AttentionRow(CudaRuns& bench, const KvName& kv, int count, int depth) {
  const double seconds = bench.AttentionOnly(kv.config, count, depth);
  const double bytes = bench.CacheBytes() / bench.layers();
  std::printf("kernel  %3d x %6d  %-10s  %8.1f us     %.2f TB/s of cache\n", count, depth, kv.label,
              seconds * 1e6, bytes / seconds * 1e-12);
  std::fflush(stdout);
}

void PrefillAttentionRow(CudaRuns& bench, const KvName& kv, int rows, int depth) {
  const double seconds = bench.PrefillAttentionOnly(kv.config, rows, depth);
  std::printf("kernel %5d at %6d  %-10s  %8.1f us     %.0f TFLOP/s\n", rows, depth, kv.label,
              seconds * 1e6, bench.AttentionFlops(rows, depth) / seconds * 1e-12);
  std::fflush(stdout);
}

void ProjectionRow(CudaRuns& bench, const char* label, Projection which, int count) {
  const CudaRuns::ProjectionTime time = bench.ProjectOnly(which, count);
  std::printf("linear  %3d x %-16s  %8.1f us     %.2f TB/s of weights\n", count, label,
              time.seconds * 1e6, time.weight_bytes / time.seconds * 1e-12);
  std::fflush(stdout);
}

// Of the other models: the ends of the range of depths. What is compared runs in turn, decode
// before prefill: right after a prefill the card's clocks are lower.
std::vector<Row> ModelRows(const std::string& model) {
  std::vector<Row> rows;
  const auto add = [&](const char* work, int depth, auto run) {
    for (const KvName& kv : kConfigs) {
      const std::string label = kv.label;
      if (label == "int8" || label == "int4" || label == "k8v4") continue;
      rows.push_back({absl::StrCat(model, " ", work, depth, " ", label),
                      [&kv, depth, run](CudaRuns& b) { run(b, kv, depth); }});
    }
  };
  for (const int depth : {0, 131072}) {
    add("decode 1x", depth,
        [](CudaRuns& b, const KvName& kv, int depth) { DecodeRow(b, kv, 1, depth); });
  }
  for (const int depth : {0, 122880}) {  // up to 131072 tokens
    add("prefill 8192 at ", depth,
        [](CudaRuns& b, const KvName& kv, int depth) { PrefillRow(b, kv, 8192, depth); });
  }
  return rows;
}

std::vector<Row> LlamaRows() {
  std::vector<Row> rows;
  const auto add = [&](const std::string& name, std::function<void(CudaRuns&)> run) {
    rows.push_back({name, std::move(run)});
  };
  for (const int count : {1, 8, 16, 32, 56}) {
    for (const auto& [label, which] :
         {std::pair("qkv", Projection::kQkv),
          std::pair("attention output", Projection::kAttentionOutput),
          std::pair("gate+up", Projection::kGateUp), std::pair("down", Projection::kDown),
          std::pair("head", Projection::kHead)}) {
      add(absl::StrCat("linear ", count, "x ", label),
          [=](CudaRuns& b) { ProjectionRow(b, label, which, count); });
    }
  }
  for (const auto& [count, depth] :
       {std::pair(16, 32768), std::pair(16, 8192), std::pair(1, 32768), std::pair(1, 131072)}) {
    for (const KvName& kv : kConfigs) {
      if (count == 16 && depth == 32768 && kv.label == std::string("bf16")) {
        add(absl::StrCat("kernel 12x32768 bf16"),
            [&kv](CudaRuns& b) { AttentionRow(b, kv, 12, 32768); });
        continue;
      }
      add(absl::StrCat("kernel ", count, "x", depth, " ", kv.label),
          [&kv, count = count, depth = depth](CudaRuns& b) { AttentionRow(b, kv, count, depth); });
    }
  }
  for (const auto& [count, depth] :
       {std::pair(1, 0), std::pair(1, 8192), std::pair(1, 32768), std::pair(1, 131072),
        std::pair(16, 8192), std::pair(56, 32768)}) {
    for (const KvName& kv : kConfigs) {
      if (count == 56 && std::string(kv.config).find("v=int4") == std::string::npos) continue;
      if (count == 56 && kv.label == std::string("k8v4")) continue;
      add(absl::StrCat("decode ", count, "x", depth, " ", kv.label),
          [&kv, count = count, depth = depth](CudaRuns& b) { DecodeRow(b, kv, count, depth); });
    }
  }
  for (const auto& [count, depth] :
       {std::pair(1, 8192), std::pair(1, 32768), std::pair(16, 8192)}) {
    for (const KvName& kv : kOtherConfigs) {
      add(absl::StrCat("decode ", count, "x", depth, " ", kv.label),
          [&kv, count = count, depth = depth](CudaRuns& b) { DecodeRow(b, kv, count, depth); });
    }
  }
  for (const int depth : {0, 32768}) {
    for (const KvName& kv : kConfigs) {
      add(absl::StrCat("kernel 4096 at ", depth, " ", kv.label),
          [&kv, depth](CudaRuns& b) { PrefillAttentionRow(b, kv, 4096, depth); });
      add(absl::StrCat("prefill 8192 at ", depth, " ", kv.label),
          [&kv, depth](CudaRuns& b) { PrefillRow(b, kv, 8192, depth); });
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
    CudaRuns bench(config);
    for (int i = 0; i < 20; ++i) bench.DecodeStep(kConfigs[0].config, 1, 0);  // clocks settle
    for (const Row& row : rows) {
      if (wanted(row)) row.run(bench);
    }
  }
  return 0;
}

}  // namespace
}  // namespace kvpareto::bench

int main(int argc, char** argv) { return kvpareto::bench::Main(argc, argv); }
