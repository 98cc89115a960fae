// What cuda_bench times: steps of a whole model, and single kernels, on the device.
#ifndef KVPARETO_TESTS_BENCH_CUDA_BENCH_RUNS_H_
#define KVPARETO_TESTS_BENCH_CUDA_BENCH_RUNS_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/model/transformer.h"
#include "engine/scheduler/sequence_cache.h"

namespace kvpareto::bench {

// The projections of a layer as the model uses them, and that of the vocabulary.
enum class Projection { kQkv, kAttentionOutput, kGateUp, kDown, kHead };

// The model, an arena over what is left of the card, and sequences of one KV config in it.
class CudaRuns {
 public:
  explicit CudaRuns(const ModelConfig& config);

  // Seconds per step of `count` sequences at `depth`.
  double DecodeStep(const std::string& kv, int count, int depth);

  // Seconds for `tokens` tokens behind `depth`.
  double Prefill(const std::string& kv, int tokens, int depth);

  // Seconds of the attention of one layer for `count` decode rows at `depth`.
  double AttentionOnly(const std::string& kv, int count, int depth);

  // Seconds of the attention of one layer for a chunk of `rows` tokens behind `depth`.
  double PrefillAttentionOnly(const std::string& kv, int rows, int depth);

  struct ProjectionTime {
    double seconds = 0;  // of one layer
    double weight_bytes = 0;
  };
  // One projection through all layers, one after the other.
  ProjectionTime ProjectOnly(Projection which, int rows);

  // Of cache that the sequences of the last run read per step.
  double CacheBytes() const;
  double weight_bytes() const { return static_cast<double>(weight_bytes_); }
  int layers() const { return config_.layers; }
  // Of the attention of one layer: two products of [queries, keys seen] x head_dim.
  double AttentionFlops(double rows, double depth) const {
    return 4.0 * rows * (depth + 0.5 * rows) * config_.heads * config_.head_dim;
  }

 private:
  void Run(const StepBatch& batch);
  void Chunk(int tokens);
  void Fill(const std::string& kv, int count, int depth);
  void FillSpans();
  AttentionArgs AttentionOver(Activations q, std::byte* out, RowSplit split,
                              std::span<const AttentionSequence> sequences) const;
  const Weight* Project(Projection which, const LayerWeights& layer, Activations x, Activations y,
                        Activations product);
  std::unique_ptr<DeviceBuffer> RandomActivations(int rows, int cols);

  const ModelConfig config_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Transformer> transformer_;
  size_t weight_bytes_ = 0;
  size_t arena_bytes_ = 0;
  std::unique_ptr<DeviceBuffer> arena_memory_;
  std::unique_ptr<kv::Arena> arena_;
  std::vector<std::unique_ptr<SequenceCache>> caches_;
};

}  // namespace kvpareto::bench

#endif  // KVPARETO_TESTS_BENCH_CUDA_BENCH_RUNS_H_
