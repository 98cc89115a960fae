// What can go wrong with a request, at each of its stages: the cases, and one harness that runs a
// case on whatever API.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "tests/reliability/watched_engine.h"
#include "tests/support/step_gate.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::reliability {

enum class Event { kCancel, kDeadline, kKilled, kSlowReader, kDrain, kEngineError };
enum class Stage { kQueued, kPrefilling, kDecoding, kLastToken };

inline constexpr Event kEvents[] = {Event::kCancel,     Event::kDeadline, Event::kKilled,
                                    Event::kSlowReader, Event::kDrain,    Event::kEngineError};
inline constexpr Stage kStages[] = {Stage::kQueued, Stage::kPrefilling, Stage::kDecoding,
                                    Stage::kLastToken};
std::string NameOf(Event event);
std::string NameOf(Stage stage);

struct CallSpec {
  int prompt_bytes = 200;  // as many tokens: the tiny tokenizer merges none of these
  int max_tokens = 6;
  std::optional<std::chrono::milliseconds> timeout;
  bool much_output = false;  // whatever makes the API's answers large
};

// Text of a request: the same for the same size.
std::string PromptOf(const CallSpec& spec);

// One request through some API, as its client sees it. Destroyed after Finish.
class Call {
 public:
  virtual ~Call() = default;
  virtual void Cancel() = 0;
  virtual void Kill() = 0;  // as if the client's process ended
  // Reads to the end. "OK", or the reason of the error; "GONE" where the client has no more to see.
  virtual std::string Finish() = 0;
  virtual const std::string& text() const = 0;
};

// An engine with one place for a running request, and a way in.
class Rig {
 public:
  virtual ~Rig() = default;
  virtual std::unique_ptr<Call> Start(const CallSpec& spec) = 0;
  virtual void Drain() = 0;  // without patience; returns when nothing runs
  // The gRPC code that the last finished request was counted under; empty: nobody counts.
  virtual std::string CountedCode(const std::string& code) const = 0;
  // Who has gone is told so even when the answer has become complete since.
  virtual bool knows_its_clients() const = 0;
  virtual bool streams() const = 0;        // output comes before the end
  virtual bool has_deadlines() const = 0;  // of calls, on the server

  Engine& engine() { return *engine_; }
  support::StepGate& gate() { return *gate_; }
  EngineCalls& calls() { return *calls_; }

 protected:
  // The engine to serve with. It shares no prompts: memory that is not given back shows.
  std::unique_ptr<Engine> MakeEngine();

 private:
  const support::TempDir dir_;
  const std::shared_ptr<support::StepGate> gate_ = std::make_shared<support::StepGate>();
  const std::shared_ptr<EngineCalls> calls_ = std::make_shared<EngineCalls>();
  Engine* engine_ = nullptr;
};

// Runs one case on a fresh rig and checks: what the client and the statistics are told, that memory
// is back within the steps allowed, and that the next request gets its answer.
void RunCase(Rig& rig, Event event, Stage stage);

}  // namespace kvpareto::reliability
