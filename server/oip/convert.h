// Requests of the Open Inference Protocol as requests of kvpareto.v1.
#pragma once

#include <chrono>
#include <optional>
#include <set>
#include <string>

#include "inference/open_inference.pb.h"
#include "kvpareto/v1/inference.pb.h"
#include "server/status.h"

namespace kvpareto::server::oip {

inline constexpr char kVersion[] = "1";  // of every model

// Outputs that a request may ask for.
inline constexpr char kTextOutput[] = "text_output";
inline constexpr char kFinishReason[] = "finish_reason";
inline constexpr char kNumInputTokens[] = "num_input_tokens";
inline constexpr char kNumOutputTokens[] = "num_output_tokens";
inline constexpr char kCumLogProbs[] = "cum_log_probs";

struct InferCall {
  v1::GenerateRequest request;
  bool stream = false;         // one response per delta
  bool prepend_input = false;  // the text begins with the prompt
  bool empty_final_response = false;
  std::set<std::string> outputs;
  std::optional<std::chrono::microseconds> timeout;
};

// Errors: INVALID_ARGUMENT, TENSOR_INVALID, OPTION_INVALID, OPTION_UNKNOWN, JSON_INVALID,
// INVALID_UTF8, EMPTY_PROMPT; NOT_FOUND (MODEL_NOT_FOUND) for a version that is not kVersion.
absl::StatusOr<InferCall> ToInferCall(const inference::ModelInferRequest& request);

absl::Status CheckVersion(const std::string& model, const std::string& version);

}  // namespace kvpareto::server::oip
