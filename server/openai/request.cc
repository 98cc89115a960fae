#include "server/openai/request.h"

#include <charconv>
#include <random>
#include <utility>
#include <vector>

#include "server/json_options.h"

namespace kvpareto::server::openai {
namespace {

using nlohmann::json;

absl::Status Unsupported(const std::string& field) {
  return FieldError("OPTION_UNSUPPORTED", field, "is not supported by this server");
}

// Fields that say nothing about the answer's text, and those whose every value but the named one
// would.
absl::Status ReadIgnored(JsonReader* body) {
  body->Ignore({"user", "metadata", "store", "service_tier", "safety_identifier",
                "prompt_cache_key", "parallel_tool_calls"});
  for (const char* name : {"tools", "functions"}) {
    if (!body->Value(name).empty()) return Unsupported(name);
  }
  for (const char* name : {"tool_choice", "function_call"}) {
    const json& value = body->Value(name);
    if (!value.is_null() && value != "none" && value != "auto") return Unsupported(name);
  }
  for (const char* name : {"suffix", "audio", "modalities", "prediction", "web_search_options"}) {
    if (!body->Value(name).is_null()) return Unsupported(name);
  }
  const json& format = body->Value("response_format");
  if (!format.is_null() && format != json{{"type", "text"}}) return Unsupported("response_format");
  return absl::OkStatus();
}

// Content is a string or a list of parts {"type": "text", "text": ...}.
absl::Status ReadContent(JsonReader* message, std::string* content) {
  if (!message->Value("content").is_array()) return message->Read("content", content);
  KVP_ASSIGN_OR_RETURN(std::vector<JsonReader> parts, message->ListOfObjects("content"));
  for (JsonReader& part : parts) {
    std::string type;
    std::string text;
    KVP_RETURN_IF_ERROR(part.Read("type", &type));
    if (type != "text") return part.Error("type", "must be text");
    KVP_RETURN_IF_ERROR(part.Read("text", &text));
    *content += text;
  }
  return absl::OkStatus();
}

absl::Status ReadMessages(JsonReader* body, v1::Prompt* prompt) {
  KVP_ASSIGN_OR_RETURN(std::vector<JsonReader> messages, body->ListOfObjects("messages"));
  if (messages.empty()) return FieldError("EMPTY_PROMPT", "messages", "must not be empty");
  for (JsonReader& message : messages) {
    v1::ChatMessage* out = prompt->mutable_messages()->add_messages();
    KVP_RETURN_IF_ERROR(message.Read("role", out->mutable_role()));
    if (out->role() == "developer") out->set_role("system");  // its newer name
    if (out->role() != "system" && out->role() != "user" && out->role() != "assistant") {
      return message.Error("role", "must be system, developer, user or assistant");
    }
    KVP_RETURN_IF_ERROR(ReadContent(&message, out->mutable_content()));
    message.Ignore({"name", "refusal", "annotations"});
    if (!message.Value("tool_calls").empty()) return Unsupported("tool_calls");
    KVP_RETURN_IF_ERROR(message.CheckNoOtherKeys());
  }
  return absl::OkStatus();
}

// A prompt is a string or a list of token ids; a list of one prompt is one too.
absl::Status ReadPrompt(JsonReader* body, v1::Prompt* prompt) {
  const json* value = &body->Value("prompt");
  if (value->is_array() && value->size() == 1 && !value->front().is_number()) {
    value = &value->front();
  }
  if (value->is_string()) {
    prompt->set_text(value->get<std::string>());
    return absl::OkStatus();
  }
  const std::string rule = "must be one string or one list of token ids";
  if (!value->is_array() || value->empty()) return body->Error("prompt", rule);
  for (const json& id : *value) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
      return body->Error("prompt", rule);
    }
    prompt->mutable_token_ids()->add_ids(id.get<int32_t>());
  }
  return absl::OkStatus();
}

absl::Status ReadLogitBias(JsonReader* body, v1::SamplingOptions* sampling) {
  KVP_ASSIGN_OR_RETURN(JsonReader bias, body->Object("logit_bias"));
  for (const auto& [key, unused] : body->Value("logit_bias").items()) {
    int32_t id = 0;
    const auto [rest, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || rest != key.data() + key.size()) {
      return body->Error("logit_bias", "must have token ids as keys");
    }
    std::optional<float> value;
    KVP_RETURN_IF_ERROR(bias.Read(key, &value));
    if (value.has_value()) (*sampling->mutable_logit_bias())[id] = *value;
  }
  return absl::OkStatus();
}

absl::Status ReadSampling(JsonReader* body, v1::GenerateRequest* request) {
  v1::SamplingOptions* sampling = request->mutable_sampling();
  KVP_RETURN_IF_ERROR(ReadSamplingOptions(body, request));
  KVP_RETURN_IF_ERROR(ReadLogitBias(body, sampling));
  // As this API defines them: sampling is the default, and differs from call to call.
  if (!sampling->has_temperature()) sampling->set_temperature(1.0f);
  if (!sampling->has_seed()) sampling->set_seed(std::random_device{}());
  std::vector<std::string> stop;
  KVP_RETURN_IF_ERROR(body->Read("stop", &stop));
  request->mutable_stopping()->mutable_stop_strings()->Add(stop.begin(), stop.end());
  return body->Set("n", request->mutable_response(), &v1::ResponseOptions::set_sequences);
}

absl::Status ReadChat(JsonReader* body, Call* call) {
  v1::GenerateRequest* request = &call->request;
  KVP_RETURN_IF_ERROR(ReadMessages(body, request->mutable_prompt()));
  KVP_RETURN_IF_ERROR(body->Set("max_completion_tokens", request->mutable_stopping(),
                                &v1::StoppingOptions::set_max_tokens));
  std::optional<bool> logprobs;
  KVP_RETURN_IF_ERROR(body->Read("logprobs", &logprobs));
  std::optional<int32_t> top;
  KVP_RETURN_IF_ERROR(body->Read("top_logprobs", &top));
  call->logprobs = logprobs.value_or(false);
  if (top.has_value() && !call->logprobs) {
    return body->Error("top_logprobs", "needs logprobs to be true");
  }
  if (call->logprobs) request->mutable_response()->set_top_logprobs(top.value_or(0));
  return absl::OkStatus();
}

absl::Status ReadCompletion(JsonReader* body, Call* call) {
  v1::GenerateRequest* request = &call->request;
  KVP_RETURN_IF_ERROR(ReadPrompt(body, request->mutable_prompt()));
  KVP_RETURN_IF_ERROR(
      body->Set("logprobs", request->mutable_response(), &v1::ResponseOptions::set_top_logprobs));
  call->logprobs = request->response().has_top_logprobs();
  std::optional<bool> echo;
  KVP_RETURN_IF_ERROR(body->Read("echo", &echo));
  if (echo.value_or(false)) return Unsupported("echo");
  std::optional<int32_t> best_of;
  KVP_RETURN_IF_ERROR(body->Read("best_of", &best_of));
  const int sequences = request->response().has_sequences() ? request->response().sequences() : 1;
  if (best_of.value_or(sequences) != sequences) return Unsupported("best_of");
  return absl::OkStatus();
}

absl::Status ReadStream(JsonReader* body, Call* call) {
  std::optional<bool> stream;
  KVP_RETURN_IF_ERROR(body->Read("stream", &stream));
  call->stream = stream.value_or(false);
  KVP_ASSIGN_OR_RETURN(JsonReader options, body->Object("stream_options"));
  if (!options.empty() && !call->stream) {
    return body->Error("stream_options", "needs stream to be true");
  }
  std::optional<bool> include_usage;
  KVP_RETURN_IF_ERROR(options.Read("include_usage", &include_usage));
  call->include_usage = include_usage.value_or(false);
  options.Ignore({"include_obfuscation"});
  return options.CheckNoOtherKeys();
}

// Our own: {"kv": {"memory_budget_bytes": ..., "accuracy_target": ..., "service_class": ...}}.
absl::Status ReadKv(JsonReader* body, v1::GenerateRequest* request) {
  KVP_ASSIGN_OR_RETURN(JsonReader kv, body->Object("kv"));
  KVP_RETURN_IF_ERROR(ReadKvOptions(&kv, "", request->mutable_kv()));
  KVP_RETURN_IF_ERROR(kv.Read("service_class", request->mutable_service_class()));
  return kv.CheckNoOtherKeys();
}

}  // namespace

absl::StatusOr<Call> ParseCall(Endpoint endpoint, const std::string& text) {
  Call call;
  call.endpoint = endpoint;
  KVP_ASSIGN_OR_RETURN(JsonReader body, JsonReader::Parse(text, ""));
  KVP_RETURN_IF_ERROR(body.Read("model", call.request.mutable_model()));
  KVP_RETURN_IF_ERROR(ReadSampling(&body, &call.request));
  KVP_RETURN_IF_ERROR(endpoint == Endpoint::kChat ? ReadChat(&body, &call)
                                                  : ReadCompletion(&body, &call));
  KVP_RETURN_IF_ERROR(ReadStream(&body, &call));
  KVP_RETURN_IF_ERROR(ReadKv(&body, &call.request));
  KVP_RETURN_IF_ERROR(ReadIgnored(&body));
  KVP_RETURN_IF_ERROR(body.CheckNoOtherKeys());
  return call;
}

}  // namespace kvpareto::server::openai
