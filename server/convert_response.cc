#include "server/convert_response.h"

#include <cmath>
#include <span>

#include "server/utf8.h"

namespace kvpareto::server {
namespace {

v1::PlanReason ToProto(PlanReason reason) {
  switch (reason) {
    case PlanReason::kDefault:
      return v1::PLAN_REASON_DEFAULT;
    case PlanReason::kAccuracy:
      return v1::PLAN_REASON_ACCURACY;
    case PlanReason::kBudget:
      return v1::PLAN_REASON_BUDGET;
    case PlanReason::kPressure:
      return v1::PLAN_REASON_PRESSURE;
    case PlanReason::kPinned:
      return v1::PLAN_REASON_PINNED;
  }
  return v1::PLAN_REASON_UNSPECIFIED;
}

std::string TokenText(const Engine& engine, int32_t token) {
  return ReplaceInvalidUtf8(engine.Detokenize(std::span<const int32_t>(&token, 1)));
}

void SetTokens(const Delta& delta, TokenDetail detail, const Engine& engine, v1::Delta* proto) {
  for (const SampledToken& sampled : delta.tokens) {
    v1::Token* token = proto->add_tokens();
    token->set_id(sampled.token);
    if (!detail.logprobs) continue;
    token->set_logprob(sampled.logprob);
    token->set_text(TokenText(engine, sampled.token));
    for (const TokenLogprob& candidate : sampled.top) {
      v1::TokenLogprob* top = token->add_top();
      top->set_token_id(candidate.token);
      top->set_logprob(candidate.logprob);
      top->set_text(TokenText(engine, candidate.token));
    }
  }
}

v1::ParetoRow ToProto(const ParetoRow& row) {
  v1::ParetoRow proto;
  proto.set_name(row.name);
  proto.set_config(row.config.ToString());
  proto.set_bytes_per_token(row.bytes_per_token);
  proto.set_fixed_bytes(row.fixed_bytes);
  proto.set_workspace_bytes(row.workspace_bytes);
  for (const AccuracyBucket& bucket : row.accuracy) {
    v1::AccuracyBucket* out = proto.add_accuracy();
    out->set_max_context_tokens(bucket.max_context_tokens);
    out->set_accuracy(bucket.accuracy);
    out->set_accuracy_low(bucket.accuracy_low);
    out->set_kl_mean(bucket.kl_mean);
    out->set_kl_p99(bucket.kl_p99);
    out->set_perplexity_ratio(bucket.perplexity_ratio);
    out->set_samples(bucket.samples);
  }
  proto.set_prefill_tokens_per_second(row.speed.prefill_tokens_per_second);
  proto.set_decode_tokens_per_second(row.speed.decode_tokens_per_second);
  proto.set_speed_context_tokens(row.speed.context_tokens);
  return proto;
}

}  // namespace

std::string ConfigName(const Plan& plan) {
  return plan.row_name.empty() ? "pinned" : plan.row_name;
}

v1::KvPlan ToProto(const Plan& plan) {
  v1::KvPlan proto;
  proto.set_config_name(ConfigName(plan));
  proto.set_config(plan.config.ToString());
  proto.set_kv_peak_bytes(plan.kv_peak_bytes);
  proto.set_workspace_bytes(plan.workspace_bytes);
  proto.set_predicted_peak_bytes(plan.predicted_peak_bytes);
  proto.set_bf16_peak_bytes(plan.bf16_peak_bytes);
  if (plan.accuracy.has_value()) proto.set_accuracy(*plan.accuracy);
  proto.set_reason(ToProto(plan.reason));
  proto.set_explanation(ReplaceInvalidUtf8(plan.explanation));
  return proto;
}

google::protobuf::Duration ToProtoDuration(double seconds) {
  google::protobuf::Duration proto;
  const auto nanos = static_cast<int64_t>(std::llround(seconds * 1e9));
  proto.set_seconds(nanos / 1'000'000'000);
  proto.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return proto;
}

v1::Usage ToProto(const Usage& usage, const Plan& plan) {
  v1::Usage proto;
  proto.set_prompt_tokens(usage.prompt_tokens);
  proto.set_generated_tokens(usage.generated_tokens);
  proto.set_predicted_peak_bytes(usage.predicted_peak_bytes);
  proto.set_measured_kv_peak_bytes(usage.measured_kv_peak_bytes);
  proto.set_measured_peak_bytes(usage.measured_peak_bytes);
  proto.set_config_name(ConfigName(plan));
  proto.set_cached_prompt_tokens(usage.cached_prompt_tokens);
  proto.set_requantized_bytes(usage.requantized_bytes);
  v1::Timings* timings = proto.mutable_timings();
  *timings->mutable_queue() = ToProtoDuration(usage.timings.queue_seconds);
  *timings->mutable_prefill() = ToProtoDuration(usage.timings.prefill_seconds);
  *timings->mutable_time_to_first_token() =
      ToProtoDuration(usage.timings.time_to_first_token_seconds);
  *timings->mutable_decode() = ToProtoDuration(usage.timings.decode_seconds);
  *timings->mutable_total() = ToProtoDuration(usage.timings.total_seconds);
  return proto;
}

v1::FinishReason ToProto(FinishReason reason) {
  return reason == FinishReason::kStop ? v1::FINISH_REASON_STOP : v1::FINISH_REASON_LENGTH;
}

v1::Delta ToProto(const Delta& delta, TokenDetail detail, const Engine& engine) {
  v1::Delta proto;
  proto.set_sequence(delta.sequence);
  proto.set_text(delta.text);
  if (detail.ids || detail.logprobs) SetTokens(delta, detail, engine, &proto);
  if (delta.finish_reason.has_value()) proto.set_finish_reason(ToProto(*delta.finish_reason));
  return proto;
}

v1::Model ToProto(const Engine& engine) {
  const ModelInfo& info = engine.model();
  const ModelConfig& config = info.config;
  v1::Model proto;
  proto.set_architecture(std::string(ArchitectureName(config.architecture)));
  proto.set_file_name(ReplaceInvalidUtf8(config.name));
  proto.set_fingerprint(info.fingerprint);
  proto.set_backend(info.backend);
  proto.set_context_tokens(config.context_tokens);
  proto.set_vocab(config.vocab);
  proto.set_layers(config.layers);
  proto.set_hidden(config.hidden);
  proto.set_heads(config.heads);
  proto.set_kv_heads(config.kv_heads);
  proto.set_head_dim(config.head_dim);
  proto.set_sliding_window(config.sliding_window);
  proto.set_weights_bytes(info.weights_bytes);
  proto.set_file_bytes(info.file_bytes);
  *proto.mutable_load_time() = ToProtoDuration(info.load_seconds);
  proto.set_has_chat_template(info.has_chat_template);
  proto.set_kv_capacity_bytes(engine.Stats().capacity_bytes);
  // K and V, two bytes each.
  proto.set_bf16_bytes_per_token(uint64_t{4} * config.layers * config.kv_heads * config.head_dim);
  proto.set_table_rows(static_cast<int32_t>(engine.table().rows.size()));
  return proto;
}

v1::ParetoTable ToProto(const ParetoTable& table) {
  v1::ParetoTable proto;
  proto.set_schema_version(table.schema_version);
  proto.set_model_name(ReplaceInvalidUtf8(table.model_name));
  proto.set_model_fingerprint(table.model_fingerprint);
  v1::TableProvenance* provenance = proto.mutable_provenance();
  provenance->set_command(ReplaceInvalidUtf8(table.provenance.command));
  provenance->set_date(ReplaceInvalidUtf8(table.provenance.date));
  provenance->set_machine(ReplaceInvalidUtf8(table.provenance.machine));
  provenance->set_text(ReplaceInvalidUtf8(table.provenance.text));
  provenance->set_tool_version(ReplaceInvalidUtf8(table.provenance.tool_version));
  for (const ParetoRow& row : table.rows) *proto.add_rows() = ToProto(row);
  return proto;
}

}  // namespace kvpareto::server
