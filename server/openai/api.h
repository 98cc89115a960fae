// OpenAI's API over HTTP: /v1/models, /v1/completions, /v1/chat/completions. docs/openai.md tells
// what of it there is.
#pragma once

#include <memory>

#include "server/generation.h"
#include "server/http/exchange.h"

namespace kvpareto::server::openai {

class Api {
 public:
  explicit Api(const GenerateResources& resources) : resources_(resources) {}

  void Handle(std::shared_ptr<http::Exchange> exchange) const;

 private:
  http::Response ListModels() const;
  http::Response GetModel(const std::string& name) const;

  const GenerateResources resources_;
};

}  // namespace kvpareto::server::openai
