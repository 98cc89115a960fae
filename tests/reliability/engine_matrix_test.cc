// The request matrix without a server: runs where gRPC is not built, and under TSan, which cannot
// see into it.
#include "tests/engine/engine_fixture.h"
#include "tests/reliability/matrix.h"

namespace kvpareto::reliability {
namespace {

class EngineCall final : public Call {
 public:
  EngineCall(Engine& engine, const CallSpec& spec) : engine_(engine) {
    Request request;
    request.prompt = PromptOf(spec);
    request.stopping.max_tokens = spec.max_tokens;
    request.stopping.ignore_eos = true;
    if (spec.timeout) request.deadline = std::chrono::steady_clock::now() + *spec.timeout;
    auto prepared = engine.Prepare(std::move(request));
    submitted_ = prepared.ok() ? engine.Submit(*std::move(prepared), sink_) : prepared.status();
  }

  void Cancel() override { engine_.Cancel(*submitted_); }
  void Kill() override { Cancel(); }
  std::string Finish() override {
    const absl::Status status = submitted_.ok() ? sink_->Wait() : submitted_.status();
    text_ = sink_->text();
    return status.ok() ? "OK" : GetErrorInfo(status)->reason;
  }
  const std::string& text() const override { return text_; }

 private:
  Engine& engine_;
  const std::shared_ptr<Collector> sink_ = std::make_shared<Collector>();
  absl::StatusOr<RequestHandle> submitted_;
  std::string text_;
};

class EngineRig final : public Rig {
 public:
  EngineRig() : engine_(MakeEngine()) {}
  std::unique_ptr<Call> Start(const CallSpec& spec) override {
    return std::make_unique<EngineCall>(*engine_, spec);
  }
  void Drain() override { engine_->Drain(std::chrono::steady_clock::now()); }
  std::string CountedCode(const std::string& code) const override { return code; }
  bool knows_its_clients() const override { return false; }
  bool streams() const override { return true; }
  bool has_deadlines() const override { return true; }

 private:
  const std::unique_ptr<Engine> engine_;
};

TEST(EngineMatrix, EveryEventAtEveryStage) {
  for (const Event event : {Event::kCancel, Event::kDeadline, Event::kDrain, Event::kEngineError}) {
    for (const Stage stage : kStages) {
      SCOPED_TRACE(NameOf(event) + " while " + NameOf(stage));
      EngineRig rig;
      RunCase(rig, event, stage);
    }
  }
}

}  // namespace
}  // namespace kvpareto::reliability
