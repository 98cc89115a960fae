// One POST /v1/completions or /v1/chat/completions: a generation's events as JSON, whole or as
// server-sent events.
#pragma once

#include <memory>
#include <optional>

#include "server/generation.h"
#include "server/http/exchange.h"
#include "server/openai/answer.h"

namespace kvpareto::server::openai {

class Completion final : public GenerationOutput, public std::enable_shared_from_this<Completion> {
 public:
  static void Start(const GenerateResources& resources, security::Caller caller,
                    Generation::Deadline deadline, Endpoint endpoint,
                    std::shared_ptr<http::Exchange> exchange);

  bool OnEvent(const v1::GenerateResponse& event) override;
  void OnEnd(const absl::Status& status) override;

 private:
  explicit Completion(std::shared_ptr<http::Exchange> exchange) : exchange_(std::move(exchange)) {}
  absl::StatusOr<v1::GenerateRequest> Parse(Endpoint endpoint);
  bool SendEvent(const std::string& data);

  const std::shared_ptr<http::Exchange> exchange_;
  std::optional<Call> call_;  // none: the request did not parse
  std::optional<Answer> answer_;
  bool begun_ = false;  // the stream's head is sent
};

}  // namespace kvpareto::server::openai
