#include "server/json_options.h"

#include <vector>

namespace kvpareto::server {

absl::Status ReadSamplingOptions(JsonReader* json, v1::GenerateRequest* request) {
  using Sampling = v1::SamplingOptions;
  using Stopping = v1::StoppingOptions;
  Sampling* sampling = request->mutable_sampling();
  Stopping* stopping = request->mutable_stopping();
  KVP_RETURN_IF_ERROR(json->Set("temperature", sampling, &Sampling::set_temperature));
  KVP_RETURN_IF_ERROR(json->Set("top_k", sampling, &Sampling::set_top_k));
  KVP_RETURN_IF_ERROR(json->Set("top_p", sampling, &Sampling::set_top_p));
  KVP_RETURN_IF_ERROR(json->Set("min_p", sampling, &Sampling::set_min_p));
  KVP_RETURN_IF_ERROR(json->Set("repetition_penalty", sampling, &Sampling::set_repetition_penalty));
  KVP_RETURN_IF_ERROR(json->Set("presence_penalty", sampling, &Sampling::set_presence_penalty));
  KVP_RETURN_IF_ERROR(json->Set("frequency_penalty", sampling, &Sampling::set_frequency_penalty));
  KVP_RETURN_IF_ERROR(json->Set("seed", sampling, &Sampling::set_seed));
  KVP_RETURN_IF_ERROR(json->Set("max_tokens", stopping, &Stopping::set_max_tokens));
  KVP_RETURN_IF_ERROR(json->Set("ignore_eos", stopping, &Stopping::set_ignore_eos));
  std::vector<int32_t> stop_tokens;
  KVP_RETURN_IF_ERROR(json->Read("stop_token_ids", &stop_tokens));
  stopping->mutable_stop_token_ids()->Add(stop_tokens.begin(), stop_tokens.end());
  if (sampling->top_k() == -1) sampling->set_top_k(0);
  return absl::OkStatus();
}

absl::Status ReadKvOptions(JsonReader* json, const std::string& prefix, v1::KvOptions* kv) {
  KVP_RETURN_IF_ERROR(
      json->Set(prefix + "memory_budget_bytes", kv, &v1::KvOptions::set_memory_budget_bytes));
  KVP_RETURN_IF_ERROR(
      json->Set(prefix + "accuracy_target", kv, &v1::KvOptions::set_accuracy_target));
  KVP_RETURN_IF_ERROR(json->Read(prefix + "config", kv->mutable_pinned_config()));
  std::string objective;
  KVP_RETURN_IF_ERROR(json->Read(prefix + "objective", &objective));
  if (objective == "accuracy") kv->set_objective(v1::OBJECTIVE_ACCURACY);
  if (objective == "memory") kv->set_objective(v1::OBJECTIVE_MEMORY);
  if (objective == "speed") kv->set_objective(v1::OBJECTIVE_SPEED);
  if (!objective.empty() && kv->objective() == v1::OBJECTIVE_UNSPECIFIED) {
    return json->Error(prefix + "objective", "must be accuracy, memory or speed");
  }
  return absl::OkStatus();
}

}  // namespace kvpareto::server
