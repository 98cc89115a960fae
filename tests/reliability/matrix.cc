#include "tests/reliability/matrix.h"

#include <thread>

#include "tests/support/tiny_model.h"

namespace kvpareto::reliability {
namespace {

using std::chrono::milliseconds;

constexpr int kChunkTokens = 64;
constexpr milliseconds kDeadline{600};
constexpr auto kPatience = std::chrono::seconds(20);
constexpr char kConfig[] = "k=int8-token v=int8-token sink=16 recent=0 chunk=64";

template <typename Condition>
bool Eventually(const Condition& condition) {
  const auto give_up = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

// The number of the step that a request which runs alone is held at.
int StepOf(Stage stage, const CallSpec& spec) {
  const int prefill =
      (spec.prompt_bytes + kChunkTokens - 1) / kChunkTokens;  // the last one samples
  switch (stage) {
    case Stage::kQueued:
      return 1;  // of the request before it
    case Stage::kPrefilling:
      return prefill - 1;
    case Stage::kDecoding:
      return prefill + 2;
    case Stage::kLastToken:
      return prefill + spec.max_tokens - 1;
  }
  return 0;
}

bool IsIdle(const EngineStats& stats) {
  int inside = 0;
  for (const auto& [name, count] : stats.running) inside += count;
  for (const auto& [name, count] : stats.waiting) inside += count;
  uint64_t reserved = 0;
  for (const auto& [name, bytes] : stats.reserved_bytes) reserved += bytes;
  return inside == 0 && reserved == 0 && stats.arena_allocated_bytes == 0;
}

// What the client is told: the reason, or OK.
std::string ExpectedReason(const Rig& rig, Event event, Stage stage) {
  const bool last = stage == Stage::kLastToken;
  const bool complete = last && !rig.knows_its_clients();
  switch (event) {
    case Event::kCancel:
      return complete ? "OK" : "CANCELLED";
    case Event::kDeadline:
      if (complete) return "OK";
      return rig.has_deadlines() ? "DEADLINE_EXCEEDED" : "CANCELLED";
    case Event::kKilled:
      return "GONE";
    case Event::kSlowReader:  // what fits the buffers is no trouble
      return stage == Stage::kDecoding && rig.streams() ? "SLOW_READER" : "OK";
    case Event::kDrain:  // the step under way is run to its end
      return last ? "OK" : "DRAINING";
    case Event::kEngineError:  // who waits is not hit
      return stage == Stage::kQueued ? "OK" : "HOST_MEMORY";
  }
  return "";
}

// What the request is counted as.
std::string ExpectedCode(const Rig& rig, Event event, Stage stage) {
  const std::string reason = ExpectedReason(rig, event, stage);
  if (reason == "GONE") return "CANCELLED";
  if (reason == "SLOW_READER" || reason == "HOST_MEMORY") return "RESOURCE_EXHAUSTED";
  if (reason == "DRAINING") return "UNAVAILABLE";
  return reason;
}

class Case {
 public:
  Case(Rig& rig, Event event, Stage stage) : rig_(rig), event_(event), stage_(stage) {
    // Some milliseconds' worth of tokens: more than the buffers between client and server hold.
    if (event == Event::kSlowReader && stage == Stage::kDecoding) {
      spec_.max_tokens = 1700;
      spec_.much_output = true;
    }
    if (event == Event::kDeadline) spec_.timeout = kDeadline;
  }

  void Run() {
    Answer(&reference_);
    rig_.gate().Close();
    if (stage_ == Stage::kQueued) StartTheOneBefore();
    start_ = std::chrono::steady_clock::now();
    call_ = rig_.Start(spec_);
    ASSERT_TRUE(rig_.calls().WaitForSubmits(stage_ == Stage::kQueued ? 3 : 2));
    ASSERT_TRUE(rig_.gate().RunTo(StepOf(stage_, spec_))) << "the stage is not reached";
    Happen();
    Settle();
    rig_.gate().Open();
    Conclude();
    NextRequest();
  }

 private:
  // Runs a request of the usual size to its end.
  void Answer(std::string* text) {
    const auto call = rig_.Start({});
    EXPECT_EQ(call->Finish(), "OK");
    *text = call->text();
    EXPECT_FALSE(text->empty());
    EXPECT_TRUE(Eventually([&] { return IsIdle(rig_.engine().Stats()); }));
  }

  void StartTheOneBefore() {
    before_ = rig_.Start({.prompt_bytes = 70, .max_tokens = 3});
    ASSERT_TRUE(rig_.calls().WaitForSubmits(2));
    ASSERT_TRUE(rig_.gate().RunTo(1));
  }

  void Happen() {
    switch (event_) {
      case Event::kCancel:
        call_->Cancel();
        EXPECT_TRUE(rig_.calls().WaitForCancels(1));
        break;
      case Event::kKilled:
        call_->Kill();
        EXPECT_TRUE(rig_.calls().WaitForCancels(1));
        break;
      case Event::kDeadline:
        std::this_thread::sleep_until(start_ + kDeadline + milliseconds(20));
        if (rig_.has_deadlines()) break;
        call_->Cancel();
        EXPECT_TRUE(rig_.calls().WaitForCancels(1));
        break;
      case Event::kSlowReader:
        rig_.gate().Open();  // reads nothing until all is over
        EXPECT_TRUE(Eventually([&] { return IsIdle(rig_.engine().Stats()); }));
        break;
      case Event::kDrain:
        drain_ = std::jthread([this] { rig_.Drain(); });
        EXPECT_TRUE(Eventually([&] { return rig_.engine().Stats().draining; }));
        std::this_thread::sleep_for(milliseconds(20));  // to where it cancels
        break;
      case Event::kEngineError:
        rig_.gate().Fail(MakeError(absl::StatusCode::kResourceExhausted, "HOST_MEMORY", "a fault"));
        break;
    }
  }

  // The step under way ends; the request's memory is free before another one. A queued request has
  // none: it leaves while the one before it runs on.
  void Settle() {
    if (stage_ == Stage::kQueued || event_ == Event::kSlowReader) return;
    rig_.gate().Release();
    EXPECT_TRUE(Eventually([&] { return IsIdle(rig_.engine().Stats()); }))
        << "memory is not free within a step";
  }

  void Conclude() {
    const std::string reason = call_->Finish();
    EXPECT_EQ(reason, ExpectedReason(rig_, event_, stage_));
    if (reason == "OK" && !spec_.much_output) {
      EXPECT_EQ(call_->text(), reference_);
    }
    if (before_ != nullptr) {
      const bool hit = event_ == Event::kDrain || event_ == Event::kEngineError;
      EXPECT_EQ(before_->Finish() == "OK", !hit);
    }
    const std::string code = ExpectedCode(rig_, event_, stage_);
    EXPECT_TRUE(Eventually([&] { return rig_.CountedCode(code) == code; }))
        << "not counted as " << code;
    if (drain_.joinable()) drain_.join();
    EXPECT_TRUE(Eventually([&] { return IsIdle(rig_.engine().Stats()); }));
  }

  void NextRequest() {
    if (event_ == Event::kDrain) {
      EXPECT_EQ(rig_.Start({})->Finish(), "DRAINING");
      return;
    }
    std::string text;
    Answer(&text);
    EXPECT_EQ(text, reference_);
  }

  Rig& rig_;
  const Event event_;
  const Stage stage_;
  CallSpec spec_;
  std::string reference_;
  std::unique_ptr<Call> before_, call_;
  std::chrono::steady_clock::time_point start_;
  std::jthread drain_;
};

}  // namespace

std::string NameOf(Event event) {
  static const char* const names[] = {"Cancel",     "Deadline", "Killed",
                                      "SlowReader", "Drain",    "EngineError"};
  return names[static_cast<int>(event)];
}

std::string NameOf(Stage stage) {
  static const char* const names[] = {"Queued", "Prefilling", "Decoding", "LastToken"};
  return names[static_cast<int>(stage)];
}

std::string PromptOf(const CallSpec& spec) {
  std::string text;
  for (int i = 0; i < spec.prompt_bytes; ++i) text += static_cast<char>('0' + i * 7 % 10);
  return text;
}

std::unique_ptr<Engine> Rig::MakeEngine() {
  EngineOptions options;
  options.model_path = dir_.File("model.gguf");
  options.table_path = dir_.File("table.yaml");
  options.kv_capacity_bytes = uint64_t{8} << 20;
  options.max_running_sequences = 1;
  options.max_sequences_per_request = 1;
  options.threads = 1;
  options.device = "cpu";
  support::WriteGguf(support::MakeTinyModel({.layers = 1,
                                             .hidden = 64,
                                             .heads = 1,
                                             .kv_heads = 1,
                                             .head_dim = 64,
                                             .ffn = 64,
                                             .context_tokens = 2048,
                                             .seed = 5}),
                     options.model_path);
  ParetoTable table;
  {
    EngineOptions untabled = options;
    untabled.table_path.clear();
    const auto engine = Engine::Create(untabled);
    EXPECT_TRUE(engine.ok()) << engine.status();
    table.model_name = (*engine)->model().config.name;
    table.model_fingerprint = (*engine)->model().fingerprint;
  }
  table.provenance = {"test", "2026-01-01", "test", "none", "0"};
  table.rows.push_back({.name = "int8", .config = *KvConfig::Parse(kConfig), .bytes_per_token = 1});
  table.rows.back().accuracy.push_back({.max_context_tokens = 2048});
  support::WriteBytes(options.table_path, FormatParetoTable(table));
  auto engine = Engine::Create(options, support::GatedBy(gate_));
  EXPECT_TRUE(engine.ok()) << engine.status();
  auto watched = std::make_unique<WatchedEngine>(*std::move(engine), calls_);
  engine_ = watched.get();
  return watched;
}

void RunCase(Rig& rig, Event event, Stage stage) { Case(rig, event, stage).Run(); }

}  // namespace kvpareto::reliability
