#include "server/openai/completion.h"

#include "server/openai/error.h"
#include "server/openai/json_text.h"

namespace kvpareto::server::openai {
namespace {

std::string EventText(const std::string& data) { return "data: " + data + "\n\n"; }

}  // namespace

void Completion::Start(const GenerateResources& resources, security::Caller caller,
                       Generation::Deadline deadline, Endpoint endpoint,
                       std::shared_ptr<http::Exchange> exchange) {
  std::shared_ptr<Completion> completion(new Completion(exchange));
  const auto parse = [completion, endpoint] { return completion->Parse(endpoint); };
  const auto generation =
      std::make_shared<Generation>(resources, std::move(caller), parse, deadline, completion);
  exchange->OnClosed([generation] { generation->Cancel(); });
  generation->Start();
}

absl::StatusOr<v1::GenerateRequest> Completion::Parse(Endpoint endpoint) {
  KVP_ASSIGN_OR_RETURN(call_, ParseCall(endpoint, exchange_->request().body));
  answer_.emplace(*call_);
  return call_->request;
}

bool Completion::OnEvent(const v1::GenerateResponse& event) {
  for (const Answer::Json& chunk : answer_->OnEvent(event)) {
    if (!SendEvent(JsonText(chunk))) return false;
  }
  return true;
}

bool Completion::SendEvent(const std::string& data) {
  std::string part = EventText(data);
  if (begun_) return exchange_->Write(std::move(part));
  begun_ = true;
  exchange_->Begin({.content_type = "text/event-stream", .body = std::move(part)});
  return true;
}

void Completion::OnEnd(const absl::Status& status) {
  if (!begun_ && !status.ok()) return exchange_->Send(ErrorResponse(status));
  if (!call_->stream) return exchange_->Send({.body = JsonText(answer_->Whole())});
  if (!begun_) exchange_->Begin({.content_type = "text/event-stream"});
  exchange_->End(EventText(status.ok() ? "[DONE]" : ErrorJson(status)));
}

}  // namespace kvpareto::server::openai
