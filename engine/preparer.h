// From a request to a prepared one: checks, tokenizing, planning. Stateless, runs on the caller's
// thread.
#pragma once

#include <functional>

#include "engine/base/status.h"
#include "engine/engine.h"
#include "engine/scheduler/plan_request.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {

// All pointers outlive the preparer. Thread-safe.
struct Preparer {
  const EngineOptions* options;
  const ModelConfig* model;
  const Tokenizer* tokenizer;
  const ChatTemplate* chat_template;         // null: the model has none
  const absl::Status* chat_template_status;  // why it is null, when it could not be parsed
  RequestPlanner planner;
  // The rules in force and what is held under them.
  std::function<AdmissionState()> admission;

  absl::StatusOr<PreparedRequest> Prepare(Request request) const;
  absl::StatusOr<std::vector<int32_t>> Tokenize(const Prompt& prompt) const;

 private:
  absl::StatusOr<std::vector<int32_t>> TokenizeChat(const std::vector<ChatMessage>& messages) const;
  absl::Status CheckLimits(const Request& request) const;
  absl::StatusOr<int> MaxTokens(const Request& request, int64_t prompt_tokens) const;
};

}  // namespace kvpareto
