#include "tests/bench/held_requests.h"

#include <utility>

namespace kvpareto {
namespace {

std::vector<int32_t> PseudoRandomTokens(int count, int seed, int vocab) {
  std::vector<int32_t> tokens(count);
  for (int i = 0; i < count; ++i) {
    tokens[i] = static_cast<int32_t>((uint64_t{7919} * i + 13 + uint64_t{101} * seed) % vocab);
  }
  return tokens;
}

}  // namespace

class HeldRequests::Sink final : public ResponseSink {
 public:
  explicit Sink(HeldRequests* owner) : owner_(owner) {}
  void OnDelta(Delta delta) override {
    const int tokens = static_cast<int>(delta.tokens.size());
    owner_->OnToken(/*first=*/std::exchange(first_, false), tokens);
  }
  void OnFinish(const absl::Status& status, const Usage& usage) override {
    owner_->OnFinish(status, usage);
  }

 private:
  HeldRequests* const owner_;
  bool first_ = true;
};

absl::StatusOr<std::unique_ptr<HeldRequests>> HeldRequests::Start(
    const HeldRequestsOptions& options, Engine* engine) {
  std::unique_ptr<HeldRequests> requests(new HeldRequests(options, engine));
  const Clock::time_point start = Clock::now();
  KVP_RETURN_IF_ERROR(requests->Submit());
  KVP_ASSIGN_OR_RETURN(requests->prefill_seconds_, requests->WaitUntilHeld(start));
  return requests;
}

HeldRequests::~HeldRequests() { Finish(); }

absl::Status HeldRequests::Submit() {
  for (int i = 0; i < options_.requests; ++i) {
    Request request;
    request.prompt = PseudoRandomTokens(options_.prompt_tokens, i, engine_->model().config.vocab);
    request.stopping.max_tokens = options_.max_tokens;
    request.stopping.ignore_eos = true;
    request.kv.pinned_config = options_.config;
    KVP_ASSIGN_OR_RETURN(Engine::Prepared prepared, engine_->Prepare(std::move(request)));
    KVP_ASSIGN_OR_RETURN(const RequestHandle handle,
                         engine_->Submit(std::move(prepared), std::make_shared<Sink>(this)));
    handles_.push_back(handle);
  }
  return absl::OkStatus();
}

absl::StatusOr<double> HeldRequests::WaitUntilHeld(Clock::time_point start) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return held_ || !ended_.ok(); });
  KVP_RETURN_IF_ERROR(ended_);
  return std::chrono::duration<double>(Clock::now() - start).count();
}

absl::StatusOr<double> HeldRequests::Decode(int tokens) {
  const Clock::time_point start = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    allowed_tokens_ = generated_tokens_ + int64_t{tokens} * options_.requests;
    held_ = false;
  }
  changed_.notify_all();
  return WaitUntilHeld(start);
}

uint64_t HeldRequests::Finish() {
  {
    const std::lock_guard lock(mutex_);
    cancelling_ = true;
  }
  for (const RequestHandle handle : handles_) engine_->Cancel(handle);
  changed_.notify_all();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return finished_ == static_cast<int>(handles_.size()); });
  return kv_peak_bytes_;
}

void HeldRequests::OnToken(bool first, int tokens) {
  std::unique_lock lock(mutex_);
  started_ += first;
  generated_tokens_ += tokens;
  if (started_ < options_.requests || generated_tokens_ < allowed_tokens_) return;
  held_ = true;
  changed_.notify_all();
  changed_.wait(lock, [this] { return !held_ || cancelling_; });
}

void HeldRequests::OnFinish(const absl::Status& status, const Usage& usage) {
  const std::lock_guard lock(mutex_);
  ++finished_;
  kv_peak_bytes_ += usage.measured_kv_peak_bytes;
  if (!cancelling_ && ended_.ok()) {
    ended_ = status.ok() ? absl::OutOfRangeError("a request has no tokens left to decode") : status;
  }
  changed_.notify_all();
}

}  // namespace kvpareto
