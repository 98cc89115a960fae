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

int64_t SpeedWork(const std::vector<NamedConfig>& configs, const SpeedOptions& options) {
  return static_cast<int64_t>(configs.size()) * options.repeats;
}

absl::StatusOr<std::vector<MeasuredRun>> MeasureSpeeds(Engine& engine,
                                                       std::span<const int32_t> prompt,
                                                       const std::vector<NamedConfig>& configs,
                                                       const SpeedOptions& options,
                                                       Progress* progress) {
  std::vector<MeasuredRun> runs(configs.size());
  std::vector<std::vector<double>> prefill(configs.size()), decode(configs.size());  // tokens/s
  for (int i = 0; i < options.repeats; ++i) {
    for (size_t c = 0; c < configs.size(); ++c) {
      KVP_ASSIGN_OR_RETURN(const Usage usage,
                           RunOnce(engine, prompt, configs[c].config, options.decode_tokens));
      prefill[c].push_back(static_cast<double>(prompt.size()) / usage.timings.prefill_seconds);
      decode[c].push_back(options.decode_tokens / usage.timings.decode_seconds);
      runs[c].predicted_peak_bytes = usage.predicted_peak_bytes;
      runs[c].measured_peak_bytes = usage.measured_peak_bytes;
      if (progress != nullptr) progress->Advance(1, configs[c].name);
    }
  }
  for (size_t c = 0; c < configs.size(); ++c) {
    runs[c].speed = {.prefill_tokens_per_second = Quantile(std::move(prefill[c]), 0.5),
                     .decode_tokens_per_second = Quantile(std::move(decode[c]), 0.5),
                     .context_tokens = static_cast<int64_t>(prompt.size())};
  }
  return runs;
}

}  // namespace kvpareto::tune
