// A generation's events as objects of OpenAI's API: one whole answer, or the chunks of a stream.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kvpareto/v1/inference.pb.h"
#include "server/openai/request.h"

namespace kvpareto::server::openai {

class Answer {
 public:
  using Json = nlohmann::ordered_json;

  explicit Answer(const Call& call) : call_(call) {}

  // In a stream, the chunks to send for that event. Otherwise none: it is kept for Whole.
  std::vector<Json> OnEvent(const v1::GenerateResponse& event);
  // The whole answer, after the result.
  Json Whole() const;

 private:
  struct Choice {
    std::string text;
    Json logprobs;  // null: none
    v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  };

  bool chat() const { return call_.endpoint == Endpoint::kChat; }
  Json Object(const char* chat_type, const char* completion_type) const;
  std::vector<Json> OnPlan(const v1::GeneratePlan& plan);
  std::vector<Json> OnDelta(const v1::Delta& delta);
  std::vector<Json> OnResult(const v1::GenerateResult& result);
  Json ChunkOf(int sequence, Json content, Json logprobs, Json finish_reason) const;
  void AddLogprobs(const v1::Delta& delta, size_t text_offset, Json* logprobs) const;

  const Call call_;
  v1::GeneratePlan plan_;
  v1::Usage usage_;
  int64_t created_ = 0;  // seconds since 1970
  std::vector<Choice> choices_;
  std::vector<size_t> offsets_;  // bytes of text so far, by sequence
};

}  // namespace kvpareto::server::openai
