// Requests that prefill at once and then decode only as far as they are let: what a benchmark needs
// to time several stretches of decoding behind one prefill, with other work between them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto {

struct HeldRequestsOptions {
  int requests = 1;
  int prompt_tokens = 1;
  int max_tokens = 1;  // of each request: the first one and all that will be decoded
  std::string config;  // text form of the KV config
};

// While all requests have a token and none may decode, the engine's thread waits in a sink. One
// object at a time per engine.
class HeldRequests {
 public:
  // Submits the requests, waits until each has its first token, and holds them there. Prompts are
  // different pseudo-random tokens. Errors: those of Prepare, Submit and of the requests.
  static absl::StatusOr<std::unique_ptr<HeldRequests>> Start(const HeldRequestsOptions& options,
                                                             Engine* engine);
  // Cancels what still runs and waits for its end.
  ~HeldRequests();

  double prefill_seconds() const { return prefill_seconds_; }  // until the last first token

  // Lets every request decode `tokens` more and returns the seconds that took. Error: OUT_OF_RANGE
  // when a request ended before.
  absl::StatusOr<double> Decode(int tokens);

  // Ends the requests. Returns the peak bytes of their KV extents, of all requests together.
  uint64_t Finish();

 private:
  class Sink;
  using Clock = std::chrono::steady_clock;

  HeldRequests(const HeldRequestsOptions& options, Engine* engine)
      : options_(options), engine_(engine) {}

  absl::Status Submit();
  absl::StatusOr<double> WaitUntilHeld(Clock::time_point start);
  void OnToken(bool first, int tokens);
  void OnFinish(const absl::Status& status, const Usage& usage);

  const HeldRequestsOptions options_;
  Engine* const engine_;
  std::vector<RequestHandle> handles_;
  double prefill_seconds_ = 0.0;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  bool cancelling_ = false;
  int started_ = 0;   // requests that have a token
  int finished_ = 0;  // requests that have ended
  int64_t generated_tokens_ = 0;
  int64_t allowed_tokens_ = 0;  // of all requests; held at the first token that reaches it
  absl::Status ended_;          // of the first request that ended before it was cancelled
  uint64_t kv_peak_bytes_ = 0;
};

}  // namespace kvpareto
