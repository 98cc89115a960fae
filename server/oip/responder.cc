#include "server/oip/responder.h"

#include <utility>

#include "server/oip/tensors.h"

namespace kvpareto::server::oip {
namespace {

using inference::ModelInferResponse;

constexpr char kFinal[] = "triton_final_response";

std::string FinishReasonText(v1::FinishReason reason) {
  if (reason == v1::FINISH_REASON_STOP) return "stop";
  return reason == v1::FINISH_REASON_LENGTH ? "length" : "";
}

void AddUsage(const v1::GeneratePlan& plan, const v1::Usage& usage, ModelInferResponse* response) {
  auto& parameters = *response->mutable_parameters();
  parameters["kv_config"].set_string_param(usage.config_name());
  parameters["kv_predicted_peak_bytes"].set_uint64_param(usage.predicted_peak_bytes());
  parameters["kv_measured_peak_bytes"].set_uint64_param(usage.measured_peak_bytes());
  if (plan.kv().has_accuracy()) parameters["kv_accuracy"].set_double_param(plan.kv().accuracy());
}

}  // namespace

void Responder::Add(const v1::Delta& delta) {
  text_ += delta.text();
  tokens_ += delta.tokens_size();
  for (const v1::Token& token : delta.tokens()) cum_log_probs_ += token.logprob();
  finish_reason_ = delta.finish_reason();
}

ModelInferResponse Responder::Take() {
  ModelInferResponse response;
  response.set_model_name(plan_.model());
  response.set_model_version(kVersion);
  response.set_id(id_);
  (*response.mutable_parameters())[kFinal].set_bool_param(false);
  const std::set<std::string>& wanted = call_.outputs;
  if (wanted.contains(kTextOutput)) AddBytes(kTextOutput, text_, &response);
  if (wanted.contains(kFinishReason)) {
    AddBytes(kFinishReason, FinishReasonText(finish_reason_), &response);
  }
  if (wanted.contains(kNumInputTokens)) {
    AddInt32(kNumInputTokens, static_cast<int32_t>(plan_.prompt_tokens()), &response);
  }
  if (wanted.contains(kNumOutputTokens)) AddInt32(kNumOutputTokens, tokens_, &response);
  if (wanted.contains(kCumLogProbs)) AddFloat(kCumLogProbs, cum_log_probs_, &response);
  text_.clear();
  tokens_ = 0;
  return response;
}

std::vector<ModelInferResponse> Responder::Finish(const v1::Usage& usage) {
  std::vector<ModelInferResponse> responses{Take()};
  AddUsage(plan_, usage, &responses.back());
  if (call_.empty_final_response) {
    ModelInferResponse& last = responses.emplace_back();
    last.set_model_name(plan_.model());
    last.set_model_version(kVersion);
    last.set_id(id_);
  }
  (*responses.back().mutable_parameters())[kFinal].set_bool_param(true);
  return responses;
}

std::vector<ModelInferResponse> Responder::OnEvent(const v1::GenerateResponse& event) {
  switch (event.event_case()) {
    case v1::GenerateResponse::kPlan:
      plan_ = event.plan();
      if (call_.prepend_input) text_ = call_.request.prompt().text();
      return {};
    case v1::GenerateResponse::kDelta: {
      Add(event.delta());
      // The last delta goes out with the usage, so that it can be marked as the last.
      const bool last = finish_reason_ != v1::FINISH_REASON_UNSPECIFIED;
      if (!call_.stream || last) return {};
      return {Take()};
    }
    case v1::GenerateResponse::kResult:
      return Finish(event.result().usage());
    case v1::GenerateResponse::kPlanChanged:
      *plan_.mutable_kv() = event.plan_changed();
      return {};
    case v1::GenerateResponse::EVENT_NOT_SET:
      return {};
  }
  return {};
}

}  // namespace kvpareto::server::oip
