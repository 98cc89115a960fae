// Requests and responses of the engine, in native types. With engine.h and stats.h, all that the
// server and the autotuner include.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "engine/base/status.h"
#include "engine/policy/choose_config.h"
#include "engine/text/chat_template.h"
#include "engine/text/sampler.h"

namespace kvpareto {

// What the model is to continue: raw text, chat messages (rendered by the model's template), or
// token ids.
using Prompt = std::variant<std::string, std::vector<ChatMessage>, std::vector<int32_t>>;

struct StoppingParams {
  int max_tokens = 0;  // per sequence; 0: the engine's default. Bounded by the context.
  std::vector<std::string> stop_strings;  // not part of the output
  std::vector<int32_t> stop_tokens;
  bool ignore_eos = false;
};

struct KvRequest {
  std::optional<uint64_t> memory_budget_bytes;
  std::optional<double> accuracy_target;
  std::optional<Objective> objective;  // unset: as the SLO says, else accuracy
  std::string pinned_config;
};

inline constexpr size_t kMaxCacheSaltBytes = 256;

struct Request {
  std::string request_id;  // for logs and traces; not interpreted
  std::string service_class = "default";
  Prompt prompt;
  SamplingParams sampling;
  StoppingParams stopping;
  KvRequest kv;
  int num_sequences = 1;  // n: independent continuations, seeds seed, seed + 1, ...
  // Prompts are shared with other requests of the same service class, salt and KV config. The salt
  // keeps those of one tenant from being probed by another: at most kMaxCacheSaltBytes, no NUL.
  bool use_prefix_cache = true;
  std::string cache_salt;
  std::optional<std::chrono::steady_clock::time_point> deadline;
};

// A request after tokenizing and planning: everything that can be refused has been.
struct PreparedRequest {
  Request request;  // without its prompt
  std::vector<int32_t> prompt_tokens;
  int max_tokens = 0;
  Plan plan;  // while it waits: what it would get now; then what it was admitted with
  // All plans that would do, best first, each smaller than the one before (AcceptablePlans).
  std::vector<Plan> alternatives;
  // The request's own, raised to the floor of its class.
  std::optional<double> accuracy_target;
};

// Names a submitted request. Never reused.
enum class RequestHandle : uint64_t {};

enum class FinishReason : uint8_t { kStop, kLength };

// New output of one continuation.
struct Delta {
  int sequence = 0;                           // 0..n-1
  std::string text;                           // whole UTF-8 characters; may be empty
  std::vector<SampledToken> tokens;           // the tokens sampled since the last delta
  std::optional<FinishReason> finish_reason;  // set in the continuation's last delta
};

struct Timings {
  double queue_seconds = 0.0;
  double prefill_seconds = 0.0;              // start of prefill to first token
  double time_to_first_token_seconds = 0.0;  // from Submit
  double decode_seconds = 0.0;
  double total_seconds = 0.0;
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t cached_prompt_tokens = 0;     // of those, found in the prefix cache: not computed
  int64_t generated_tokens = 0;         // of all sequences
  uint64_t predicted_peak_bytes = 0;    // of the plan (whole max_tokens)
  uint64_t measured_kv_peak_bytes = 0;  // from the arena, this request's extents
  uint64_t measured_peak_bytes = 0;     // and its share of the workspace
  uint64_t requantized_bytes = 0;  // of its blocks that became smaller while it ran, before that
  Timings timings;
};

// Receives one request's output. Called on the engine thread: must not block, only enqueue. Calls
// never overlap. OnFinish is called exactly once and last, whatever happens (ok, error,
// cancellation).
class ResponseSink {
 public:
  virtual ~ResponseSink() = default;
  // The request has its memory, under this plan; comes before everything else. A request that ends
  // in the queue is never admitted.
  virtual void OnAdmitted(const Plan& /*plan*/) {}
  virtual void OnDelta(Delta delta) = 0;
  // The request goes on under another plan: its cache has been made smaller, within its target.
  virtual void OnPlanChanged(const Plan& /*plan*/) {}
  // OK: every sequence finished. CANCELLED, DEADLINE_EXCEEDED, INTERNAL (NUMERICAL_ERROR),
  // UNAVAILABLE (drain) otherwise; `usage` tells what was done until then.
  virtual void OnFinish(const absl::Status& status, const Usage& usage) = 0;
};

// Decoded tokens that Engine::Score puts into one step.
inline constexpr int kMaxScoreDecodeRows = 64;

// How Engine::Score runs a text.
struct ScoreOptions {
  // Tokens from here on are computed as generated ones are: each reads what the cache holds when it
  // is the newest. Many go through the model in one step, with the same result to the bit as one by
  // one. -1: all in prefill chunks.
  int64_t decode_from = -1;
  int64_t logits_from = 0;    // no logits are computed for earlier positions
  int64_t logits_stride = 1;  // logits of every so many positions from logits_from on
  // Keys and values go through their codec when they are written: a cache without an open block, as
  // others keep it. Read exactly are the sink and, to the token, the `recent` newest. For codecs
  // whose tokens share no scales (others: INVALID_ARGUMENT, CODEC_NEEDS_BLOCKS); "...-smooth" ones
  // subtract the mean over all tokens written so far, the current step's included. All tokens are
  // computed as generated ones are, a prefill chunk in a step.
  bool encode_on_write = false;
  // Decoded tokens read the same, but are computed by the kernels of prefill chunks: several times
  // faster on a long text, with less exact products where the backend has them (bf16 on CPUs with
  // AVX512-BF16 or AMX).
  bool prefill_arithmetic = false;
  int max_decode_rows = kMaxScoreDecodeRows;  // of one step; changes nothing but speed
  // From this position on the cache goes on under another config, and what it holds is re-encoded,
  // as a running request's is when memory is short. -1: never. Sealed blocks of the second config
  // are smaller, its windows and transforms the same (SCORE_OPTION_INVALID).
  int64_t requantize_at = -1;
  KvConfig requantize_to;
};

// What one layer computes of consecutive tokens. q [rows, heads * head_dim], k and v [rows,
// kv_heads
// * head_dim], after RoPE and before any transform; and what its linear layers are applied to.
struct LayerObservation {
  int layer = 0;
  int64_t first_position = 0;
  int rows = 0;
  std::span<const float> q, k, v;
  std::span<const float> attention_input;   // [rows, hidden]: projected to Q, K and V
  std::span<const float> attention_output;  // [rows, heads * head_dim]: to the residual stream
  std::span<const float> ffn_input;         // [rows, hidden]: to gate and up
  std::span<const float> ffn_product;       // [rows, ffn]: down to the residual stream
};
// Called on the engine thread; the spans are valid during the call.
using ObserveFn = std::function<void(const LayerObservation&)>;

// Parts of one layer's attention weights as floats: the bias of the K projection [kv_heads *
// head_dim] (empty: it has none), and the output projection [hidden, heads * head_dim].
struct AttentionWeights {
  int layer = 0;
  std::span<const float> key_bias, output_projection;
};
using AttentionWeightsFn = std::function<void(const AttentionWeights&)>;

// Receives teacher-forced logits (Engine::Score): those of `first_position` and of positions that
// follow at distances of logits_stride, [rows, vocab] floats.
using ScoreLogitsFn = std::function<void(int64_t first_position, std::span<const float> logits)>;

}  // namespace kvpareto
