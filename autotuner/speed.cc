#include "autotuner/speed.h"

#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "autotuner/fidelity.h"

namespace kvpareto::tune {
namespace {

class WaitingSink final : public ResponseSink {
 public:
  void OnDelta(Delta /*delta*/) override {}
  void OnFinish(const absl::Status& status, const Usage& usage) override {
    done_.set_value(status.ok() ? absl::StatusOr<Usage>(usage) : absl::StatusOr<Usage>(status));
  }
  absl::StatusOr<Usage> Wait() { return done_.get_future().get(); }

 private:
  std::promise<absl::StatusOr<Usage>> done_;
};

absl::StatusOr<Usage> RunOnce(Engine& engine, std::span<const int32_t> prompt,
                              const KvConfig& config, int decode_tokens) {
  Request request;
  request.request_id = "speed";
  request.prompt = std::vector<int32_t>(prompt.begin(), prompt.end());
  request.stopping.max_tokens = decode_tokens + 1;  // the first one comes from prefill
  request.stopping.ignore_eos = true;
  request.kv.pinned_config = config.ToString();
  KVP_ASSIGN_OR_RETURN(Engine::Prepared prepared, engine.Prepare(std::move(request)));
  auto sink = std::make_shared<WaitingSink>();
  KVP_RETURN_IF_ERROR(engine.Submit(std::move(prepared), sink).status());
  return sink->Wait();
}

}  // namespace

absl::StatusOr<SpeedPoint> MeasureSpeed(Engine& engine, std::span<const int32_t> prompt,
                                        const KvConfig& config, const SpeedOptions& options) {
  std::vector<double> prefill_seconds, decode_seconds;
  for (int i = 0; i < options.repeats; ++i) {
    KVP_ASSIGN_OR_RETURN(const Usage usage, RunOnce(engine, prompt, config, options.decode_tokens));
    prefill_seconds.push_back(usage.timings.prefill_seconds);
    decode_seconds.push_back(usage.timings.decode_seconds);
  }
  return SpeedPoint{.prefill_tokens_per_second = static_cast<double>(prompt.size()) /
                                                 Quantile(std::move(prefill_seconds), 0.5),
                    .decode_tokens_per_second = static_cast<double>(options.decode_tokens) /
                                                Quantile(std::move(decode_seconds), 0.5),
                    .context_tokens = static_cast<int64_t>(prompt.size())};
}

}  // namespace kvpareto::tune
