#include "server/openai/answer.h"

#include <chrono>
#include <utility>

namespace kvpareto::server::openai {
namespace {

using Json = nlohmann::ordered_json;

Json FinishReasonJson(v1::FinishReason reason) {
  if (reason == v1::FINISH_REASON_UNSPECIFIED) return nullptr;
  return reason == v1::FINISH_REASON_STOP ? "stop" : "length";
}

Json BytesOf(const std::string& text) {
  Json bytes = Json::array();
  for (const unsigned char byte : text) bytes.push_back(byte);
  return bytes;
}

Json ChatToken(const std::string& text, float logprob) {
  return {{"token", text}, {"logprob", logprob}, {"bytes", BytesOf(text)}};
}

// {"content": [{"token", "logprob", "bytes", "top_logprobs": [...]}]}
void AddChatLogprobs(const v1::Delta& delta, Json* logprobs) {
  Json& content = (*logprobs)["content"];
  for (const v1::Token& token : delta.tokens()) {
    Json entry = ChatToken(token.text(), token.logprob());
    entry["top_logprobs"] = Json::array();
    for (const v1::TokenLogprob& top : token.top()) {
      entry["top_logprobs"].push_back(ChatToken(top.text(), top.logprob()));
    }
    content.push_back(std::move(entry));
  }
}

// {"tokens", "token_logprobs", "top_logprobs", "text_offset"}: lists of equal length.
void AddCompletionLogprobs(const v1::Delta& delta, size_t offset, Json* logprobs) {
  for (const v1::Token& token : delta.tokens()) {
    (*logprobs)["tokens"].push_back(token.text());
    (*logprobs)["token_logprobs"].push_back(token.logprob());
    Json top = Json::object();
    for (const v1::TokenLogprob& candidate : token.top()) {
      top[candidate.text()] = candidate.logprob();
    }
    (*logprobs)["top_logprobs"].push_back(std::move(top));
    (*logprobs)["text_offset"].push_back(offset);
    offset += token.text().size();
  }
}

Json PlanJson(const v1::KvPlan& plan) {
  Json kv = {{"config", plan.config_name()},
             {"predicted_peak_bytes", plan.predicted_peak_bytes()},
             {"bf16_peak_bytes", plan.bf16_peak_bytes()}};
  if (plan.has_accuracy()) kv["accuracy"] = plan.accuracy();
  kv["explanation"] = plan.explanation();
  return kv;
}

Json UsageJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"completion_tokens", usage.generated_tokens()},
          {"total_tokens", usage.prompt_tokens() + usage.generated_tokens()}};
}

}  // namespace

Json Answer::Object(const char* chat_type, const char* completion_type) const {
  return {{"id", (chat() ? "chatcmpl-" : "cmpl-") + plan_.request_id()},
          {"object", chat() ? chat_type : completion_type},
          {"created", created_},
          {"model", plan_.model()},
          {"choices", Json::array()}};
}

void Answer::AddLogprobs(const v1::Delta& delta, size_t text_offset, Json* logprobs) const {
  if (!call_.logprobs || delta.tokens().empty()) return;
  if (chat()) return AddChatLogprobs(delta, logprobs);
  AddCompletionLogprobs(delta, text_offset, logprobs);
}

Json Answer::ChunkOf(int sequence, Json content, Json logprobs, Json finish_reason) const {
  Json chunk = Object("chat.completion.chunk", "text_completion");
  Json choice = {{"index", sequence}};
  choice[chat() ? "delta" : "text"] = std::move(content);
  choice["logprobs"] = std::move(logprobs);
  choice["finish_reason"] = std::move(finish_reason);
  chunk["choices"].push_back(std::move(choice));
  if (call_.include_usage) chunk["usage"] = nullptr;
  return chunk;
}

std::vector<Json> Answer::OnPlan(const v1::GeneratePlan& plan) {
  plan_ = plan;
  created_ = std::chrono::duration_cast<std::chrono::seconds>(
                 std::chrono::system_clock::now().time_since_epoch())
                 .count();
  const auto& response = call_.request.response();
  const int sequences = response.has_sequences() ? response.sequences() : 1;
  choices_.resize(sequences);
  offsets_.resize(sequences);
  std::vector<Json> chunks;
  for (int i = 0; call_.stream && chat() && i < sequences; ++i) {
    chunks.push_back(ChunkOf(i, {{"role", "assistant"}, {"content", ""}}, nullptr, nullptr));
    chunks.back()["kv"] = PlanJson(plan.kv());
  }
  return chunks;
}

std::vector<Json> Answer::OnDelta(const v1::Delta& delta) {
  Choice& choice = choices_[delta.sequence()];
  size_t& offset = offsets_[delta.sequence()];
  Json logprobs;
  AddLogprobs(delta, offset, call_.stream ? &logprobs : &choice.logprobs);
  offset += delta.text().size();
  if (!call_.stream) {
    choice.text += delta.text();
    choice.finish_reason = delta.finish_reason();
    return {};
  }
  Json content = delta.text();
  if (chat()) {
    content = Json::object();
    if (!delta.text().empty()) content["content"] = delta.text();
  }
  return {ChunkOf(delta.sequence(), std::move(content), std::move(logprobs),
                  FinishReasonJson(delta.finish_reason()))};
}

std::vector<Json> Answer::OnResult(const v1::GenerateResult& result) {
  usage_ = result.usage();
  if (!call_.stream || !call_.include_usage) return {};
  Json chunk = Object("chat.completion.chunk", "text_completion");
  chunk["usage"] = UsageJson(usage_);
  chunk["kv"] = PlanJson(plan_.kv());
  chunk["kv"]["measured_peak_bytes"] = usage_.measured_peak_bytes();
  return {std::move(chunk)};
}

std::vector<Json> Answer::OnEvent(const v1::GenerateResponse& event) {
  if (event.has_plan()) return OnPlan(event.plan());
  if (event.has_delta()) return OnDelta(event.delta());
  if (event.has_result()) return OnResult(event.result());
  if (event.has_plan_changed()) *plan_.mutable_kv() = event.plan_changed();
  return {};
}

Json Answer::Whole() const {
  Json answer = Object("chat.completion", "text_completion");
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    Json out = {{"index", i}};
    if (chat()) {
      out["message"] = {{"role", "assistant"}, {"content", choice.text}};
    } else {
      out["text"] = choice.text;
    }
    out["logprobs"] = choice.logprobs;
    out["finish_reason"] = FinishReasonJson(choice.finish_reason);
    answer["choices"].push_back(std::move(out));
  }
  answer["usage"] = UsageJson(usage_);
  answer["kv"] = PlanJson(plan_.kv());
  answer["kv"]["measured_peak_bytes"] = usage_.measured_peak_bytes();
  return answer;
}

}  // namespace kvpareto::server::openai
