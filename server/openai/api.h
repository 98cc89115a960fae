// OpenAI's API over HTTP: /v1/models, /v1/completions, /v1/chat/completions. docs/openai.md tells
// what of it there is.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "server/generation.h"
#include "server/http/exchange.h"
#include "server/openai/request.h"

namespace kvpareto::server::openai {

class Api {
 public:
  // `request_timeout`: from the arrival of a request to the end of its answer.
  Api(const GenerateResources& resources, std::chrono::milliseconds request_timeout)
      : resources_(resources), request_timeout_(request_timeout) {}

  void Handle(std::shared_ptr<http::Exchange> exchange) const;

 private:
  void Complete(security::Caller caller, Endpoint endpoint,
                std::shared_ptr<http::Exchange> exchange) const;
  http::Response ListModels() const;
  http::Response GetModel(const std::string& name) const;

  const GenerateResources resources_;
  const std::chrono::milliseconds request_timeout_;
};

}  // namespace kvpareto::server::openai
