#include "server/openai/api.h"

#include <utility>

#include "server/openai/completion.h"
#include "server/openai/error.h"
#include "server/openai/json_text.h"
#include "server/security/admit.h"

namespace kvpareto::server::openai {
namespace {

using Json = nlohmann::ordered_json;

Json ModelJson(const std::string& name, const Engine& engine) {
  const ModelInfo& info = engine.model();
  return {{"id", name},
          {"object", "model"},
          {"created", 0},
          {"owned_by", "kvpareto"},
          {"max_model_len", info.config.context_tokens},
          {"fingerprint", info.fingerprint}};
}

absl::Status NotFound(const http::Request& request) {
  return MakeError(absl::StatusCode::kNotFound, "METHOD_UNKNOWN",
                   "no " + request.method +
                       " at that path; this server has GET /v1/models, POST "
                       "/v1/completions and POST /v1/chat/completions");
}

}  // namespace

http::Response Api::ListModels() const {
  Json models = Json::array();
  for (const auto& [name, engine] : resources_.models->engines()) {
    models.push_back(ModelJson(name, *engine));
  }
  return {.body = JsonText({{"object", "list"}, {"data", std::move(models)}})};
}

http::Response Api::GetModel(const std::string& name) const {
  const absl::StatusOr<Models::Entry> model = resources_.models->Find(name);
  if (!model.ok()) return ErrorResponse(model.status());
  return {.body = JsonText(ModelJson(model->name, *model->engine))};
}

void Api::Complete(security::Caller caller, Endpoint endpoint,
                   std::shared_ptr<http::Exchange> exchange) const {
  const auto deadline = std::chrono::steady_clock::now() + request_timeout_;
  Completion::Start(resources_, std::move(caller), deadline, endpoint, std::move(exchange));
}

void Api::Handle(std::shared_ptr<http::Exchange> exchange) const {
  static const std::string kModel = "/v1/models/";
  const http::Request& request = exchange->request();
  absl::StatusOr<security::Caller> caller = security::Admit(*resources_.access, request);
  if (!caller.ok()) return exchange->Send(ErrorResponse(caller.status()));
  const bool get = request.method == "GET";
  const bool post = request.method == "POST";
  if (post && request.path == "/v1/chat/completions") {
    return Complete(*std::move(caller), Endpoint::kChat, std::move(exchange));
  }
  if (post && request.path == "/v1/completions") {
    return Complete(*std::move(caller), Endpoint::kCompletions, std::move(exchange));
  }
  if (get && request.path == "/v1/models") return exchange->Send(ListModels());
  if (get && request.path.starts_with(kModel) && request.path.size() > kModel.size()) {
    return exchange->Send(GetModel(request.path.substr(kModel.size())));
  }
  exchange->Send(ErrorResponse(NotFound(request)));
}

}  // namespace kvpareto::server::openai
