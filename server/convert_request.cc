#include "server/convert_request.h"

#include <algorithm>
#include <utility>

namespace kvpareto::server {
namespace {

absl::Status Invalid(std::string_view reason, const std::string& field, const std::string& rule) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, field + " " + rule,
                   {{"field", field}});
}

SamplingParams ToSampling(const v1::SamplingOptions& proto) {
  SamplingParams sampling;
  if (proto.has_temperature()) sampling.temperature = proto.temperature();
  if (proto.has_top_k()) sampling.top_k = proto.top_k();
  if (proto.has_top_p()) sampling.top_p = proto.top_p();
  if (proto.has_min_p()) sampling.min_p = proto.min_p();
  if (proto.has_repetition_penalty()) sampling.repetition_penalty = proto.repetition_penalty();
  if (proto.has_presence_penalty()) sampling.presence_penalty = proto.presence_penalty();
  if (proto.has_frequency_penalty()) sampling.frequency_penalty = proto.frequency_penalty();
  if (proto.has_seed()) sampling.seed = proto.seed();
  sampling.logit_bias.insert(proto.logit_bias().begin(), proto.logit_bias().end());
  return sampling;
}

absl::StatusOr<StoppingParams> ToStopping(const v1::StoppingOptions& proto) {
  StoppingParams stopping;
  if (proto.has_max_tokens()) {
    // The native 0 means "the default", which a client says by leaving the field out.
    if (proto.max_tokens() < 1) {
      return Invalid("MAX_TOKENS_INVALID", "stopping.max_tokens", "must be at least 1");
    }
    stopping.max_tokens = proto.max_tokens();
  }
  stopping.stop_strings.assign(proto.stop_strings().begin(), proto.stop_strings().end());
  stopping.stop_tokens.assign(proto.stop_token_ids().begin(), proto.stop_token_ids().end());
  stopping.ignore_eos = proto.ignore_eos();
  return stopping;
}

absl::StatusOr<std::optional<Objective>> ToObjective(v1::Objective proto) {
  switch (proto) {
    case v1::OBJECTIVE_UNSPECIFIED:
      return std::nullopt;
    case v1::OBJECTIVE_ACCURACY:
      return Objective::kAccuracy;
    case v1::OBJECTIVE_MEMORY:
      return Objective::kMemory;
    case v1::OBJECTIVE_SPEED:
      return Objective::kSpeed;
    default:
      return Invalid("OPTION_INVALID", "kv.objective", "has no value of that number");
  }
}

absl::StatusOr<KvRequest> ToKvRequest(const v1::KvOptions& proto) {
  KvRequest kv;
  if (proto.has_memory_budget_bytes()) kv.memory_budget_bytes = proto.memory_budget_bytes();
  if (proto.has_accuracy_target()) {
    kv.accuracy_target = proto.accuracy_target();
    // Written so that NaN fails too.
    if (!(proto.accuracy_target() >= 0.0 && proto.accuracy_target() <= 1.0)) {
      return Invalid("ACCURACY_OUT_OF_RANGE", "kv.accuracy_target", "must be from 0 to 1");
    }
  }
  KVP_ASSIGN_OR_RETURN(kv.objective, ToObjective(proto.objective()));
  kv.pinned_config = proto.pinned_config();
  return kv;
}

absl::Status CheckRequestId(const std::string& id) {
  if (IsRequestId(id)) return absl::OkStatus();
  return Invalid("REQUEST_ID_INVALID", "request_id",
                 "must be at most " + std::to_string(kMaxRequestIdBytes) +
                     " printable ASCII characters without blanks");
}

}  // namespace

bool IsRequestId(const std::string& id) {
  return id.size() <= kMaxRequestIdBytes &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
}

absl::StatusOr<Prompt> ToPrompt(const v1::Prompt& prompt) {
  switch (prompt.content_case()) {
    case v1::Prompt::kText:
      return prompt.text();
    case v1::Prompt::kMessages: {
      std::vector<ChatMessage> messages;
      for (const v1::ChatMessage& message : prompt.messages().messages()) {
        messages.push_back({.role = message.role(), .content = message.content()});
      }
      return messages;
    }
    case v1::Prompt::kTokenIds: {
      const auto& ids = prompt.token_ids().ids();
      return std::vector<int32_t>(ids.begin(), ids.end());
    }
    case v1::Prompt::CONTENT_NOT_SET:
      break;
  }
  return Invalid("EMPTY_PROMPT", "prompt", "must be text, messages or token ids");
}

absl::StatusOr<Request> ToRequest(const v1::GenerateRequest& proto,
                                  const std::set<std::string>& service_classes) {
  Request request;
  KVP_RETURN_IF_ERROR(CheckRequestId(proto.request_id()));
  request.request_id = proto.request_id();
  if (!proto.service_class().empty()) request.service_class = proto.service_class();
  if (!service_classes.contains(request.service_class)) {
    return Invalid("SERVICE_CLASS_UNKNOWN", "service_class", "is not configured on this server");
  }
  KVP_ASSIGN_OR_RETURN(request.prompt, ToPrompt(proto.prompt()));
  request.use_prefix_cache = !proto.prefix_cache().disabled();
  request.cache_salt = proto.prefix_cache().salt();
  request.sampling = ToSampling(proto.sampling());
  KVP_ASSIGN_OR_RETURN(request.stopping, ToStopping(proto.stopping()));
  KVP_ASSIGN_OR_RETURN(request.kv, ToKvRequest(proto.kv()));
  const v1::ResponseOptions& response = proto.response();
  if (response.has_top_logprobs()) {
    if (response.top_logprobs() < 0) {
      return Invalid("OPTION_INVALID", "response.top_logprobs", "must not be negative");
    }
    request.sampling.top_logprobs = response.top_logprobs();
  }
  if (response.has_sequences()) request.num_sequences = response.sequences();
  return request;
}

std::optional<std::chrono::steady_clock::time_point> ToDeadline(gpr_timespec deadline) {
  deadline = gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC);
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(GPR_CLOCK_MONOTONIC));
  // Clients may name deadlines that no 64-bit count of nanoseconds holds.
  constexpr int64_t kYearSeconds = int64_t{365} * 24 * 3600;
  if (left.tv_sec > kYearSeconds) return std::nullopt;
  const int64_t seconds = std::max<int64_t>(left.tv_sec, -kYearSeconds);
  return std::chrono::steady_clock::now() + std::chrono::seconds(seconds) +
         std::chrono::nanoseconds(left.tv_nsec);
}

}  // namespace kvpareto::server
