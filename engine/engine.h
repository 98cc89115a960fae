// The engine: one model on one device, serving many requests at once with a KV config each.
//
// Threads: any thread may call any method. Parsing, tokenizing and planning happen on the caller's
// thread; one engine thread owns every sequence, the scheduler and the arena, and calls the sinks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/calibration.h"
#include "engine/model/kv_transforms.h"
#include "engine/model/model_config.h"
#include "engine/policy/pareto_table.h"
#include "engine/policy/slo.h"
#include "engine/request.h"
#include "engine/stats.h"

namespace kvpareto {

class Backend;

struct EngineOptions {
  std::string model_path;  // .gguf file or Hugging Face directory
  std::string table_path;  // Pareto table; empty: a table of bf16 alone
  // Static ranges (`kvpareto-tune calibrate`); empty: configs that need them are refused.
  std::string calibration_path;
  uint64_t kv_capacity_bytes = uint64_t{1} << 30;
  // KV memory that prefixes of prompts may hold while nobody runs on them, at most
  // kv_capacity_bytes; they give way to any request. 0: none are kept.
  uint64_t prefix_cache_bytes = 0;
  int max_step_tokens = 1024;  // token budget of one step; >= the largest chunk of the table
  int max_running_sequences = 64;
  int max_queued_requests = 256;
  int max_sequences_per_request = 8;  // bound on n
  int max_prompt_tokens = 0;          // 0: what the model's context has room for
  int max_answer_tokens = 0;          // of one sequence; 0: the same
  int default_max_tokens = 256;       // never more than max_answer_tokens
  int max_stop_strings = 16;
  int max_stop_string_bytes = 1024;
  int max_top_logprobs = 20;
  // Leaves out rows of the table whose config computes something else here than the bf16 cache
  // (engine/self_test.h).
  bool self_test = false;
  int threads = 0;           // 0: one per core
  std::string isa = "auto";  // see CpuBackendOptions
  // "cpu", "cuda", or "auto": CUDA where it was built and the machine has a device, else the CPU.
  std::string device = "auto";

  // Errors: INVALID_ARGUMENT naming the field.
  absl::Status Validate() const;
};

// Replaces parts that an engine makes for itself: how tests bring a device's faults about.
struct EngineHooks {
  std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)> wrap_backend;  // null: as it is
};

// A row of the table that is not offered, and why.
struct RefusedRow {
  std::string name;
  std::string why;
};

struct ModelInfo {
  ModelConfig config;
  std::string fingerprint;
  std::string backend;
  std::string device_note;  // why "auto" did not take CUDA in a build that has it; else empty
  std::vector<RefusedRow> refused_rows;  // by the self-test
  uint64_t weights_bytes = 0;
  uint64_t file_bytes = 0;
  double load_seconds = 0.0;
  bool has_chat_template = false;
};

class Engine {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineOptions& options,
                                                        const EngineHooks& hooks = {});
  // Cancels what is running, joins the engine thread.
  virtual ~Engine() = default;

  using Prepared = PreparedRequest;

  // Checks, tokenizes and plans. Errors as in docs/errors.md: INVALID_ARGUMENT (EMPTY_PROMPT,
  // INVALID_UTF8, PROMPT_TOO_LONG, INVALID_SAMPLING_PARAMS, NO_FEASIBLE_CONFIG, ...), OUT_OF_RANGE
  // (KV_EXCEEDS_CAPACITY).
  virtual absl::StatusOr<Prepared> Prepare(Request request) const = 0;

  // Queues a prepared request. Errors: RESOURCE_EXHAUSTED (QUEUE_FULL), UNAVAILABLE (DRAINING),
  // DEADLINE_EXCEEDED; in these cases the sink is never called.
  virtual absl::StatusOr<RequestHandle> Submit(Prepared prepared,
                                               std::shared_ptr<ResponseSink> sink) = 0;

  // Asks for the end of a request: OnFinish(CANCELLED) follows and its KV memory is free within one
  // step. Unknown or finished handles are ignored.
  virtual void Cancel(RequestHandle handle) = 0;

  virtual absl::StatusOr<std::vector<int32_t>> Tokenize(const Prompt& prompt) const = 0;
  // Special tokens are written out; bytes that make no character become U+FFFD.
  virtual std::string Detokenize(std::span<const int32_t> tokens) const = 0;

  // Teacher forcing for measurements: runs `tokens` through the model under `config`, in chunks of
  // config.prefill_chunk_tokens that read the quantized cache, or token by token where `options`
  // say so. on_logits is called on the engine thread, in order, with the logits of consecutive
  // positions, [rows, vocab] floats. Blocks until done.
  using LogitsFn = ScoreLogitsFn;
  virtual absl::Status Score(std::span<const int32_t> tokens, const KvConfig& config,
                             const ScoreOptions& options, const LogitsFn& on_logits) = 0;

  // Runs `tokens` (at most the context length) through a bf16 cache and shows what every layer
  // computes. Blocks until done. Errors: as Score.
  virtual absl::Status Observe(std::span<const int32_t> tokens, const ObserveFn& observe) = 0;

  // Shows what calibration needs of every layer's weights, in order; reads the model's file anew.
  // Errors: as opening it.
  virtual absl::Status VisitAttentionWeights(const AttentionWeightsFn& visit) const = 0;

  // Refuses new requests (UNAVAILABLE, DRAINING) and returns when the running ones have finished or
  // `deadline` has passed (then the rest are cancelled).
  virtual void Drain(std::chrono::steady_clock::time_point deadline) = 0;

  // Whether the SLO can hold for this model's table and memory. Errors: INVALID_ARGUMENT
  // (SLO_INVALID) with file and line.
  virtual absl::Status CheckSlo(const ModelSlo& slo) const = 0;
  // The memory SLO from now on; it has passed CheckSlo. Requests that were admitted before keep
  // what they have: new limits are reached as they end, or are made smaller.
  virtual void SetSlo(const ModelSlo& slo) = 0;

  virtual EngineStats Stats() const = 0;
  virtual const ModelInfo& model() const = 0;
  virtual const ParetoTable& table() const = 0;
  // Workspace bytes of one prefill chunk, as used in plans.
  virtual uint64_t WorkspaceBytes(int chunk_tokens) const = 0;
};

}  // namespace kvpareto
