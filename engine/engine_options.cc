#include "engine/engine_options.h"

#include "absl/strings/str_cat.h"
#include "engine/engine.h"

namespace kvpareto {

absl::Status EngineOptionError(std::string_view field, const std::string& rule) {
  return MakeError(absl::StatusCode::kInvalidArgument, "ENGINE_OPTION_INVALID",
                   absl::StrCat(absl::string_view(field.data(), field.size()), " ", rule),
                   {{"field", std::string(field)}});
}

absl::Status EngineOptions::Validate() const {
  if (model_path.empty()) return EngineOptionError("model_path", "is empty");
  if (kv_capacity_bytes < (uint64_t{1} << 20))
    return EngineOptionError("kv_capacity_bytes", "is below 1 MiB");
  if (max_step_tokens < kv::kBlockTokens || max_step_tokens > 65536) {
    return EngineOptionError("max_step_tokens", "must be between 64 and 65536");
  }
  if (max_running_sequences < 1 || max_running_sequences > 4096) {
    return EngineOptionError("max_running_sequences", "must be between 1 and 4096");
  }
  if (max_queued_requests < 0) return EngineOptionError("max_queued_requests", "is negative");
  if (max_sequences_per_request < 1 || max_sequences_per_request > max_running_sequences) {
    return EngineOptionError("max_sequences_per_request",
                             "must be between 1 and max_running_sequences");
  }
  if (max_prompt_tokens < 0) return EngineOptionError("max_prompt_tokens", "is negative");
  if (max_answer_tokens < 0) return EngineOptionError("max_answer_tokens", "is negative");
  if (default_max_tokens < 1) return EngineOptionError("default_max_tokens", "must be at least 1");
  if (max_stop_strings < 0) return EngineOptionError("max_stop_strings", "is negative");
  if (max_stop_string_bytes < 1) {
    return EngineOptionError("max_stop_string_bytes", "must be at least 1");
  }
  if (max_top_logprobs < 0) return EngineOptionError("max_top_logprobs", "is negative");
  if (threads < 0 || threads > 1024)
    return EngineOptionError("threads", "must be between 0 and 1024");
  return absl::OkStatus();
}

}  // namespace kvpareto
