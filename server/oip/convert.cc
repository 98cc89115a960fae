#include "server/oip/convert.h"

#include <utility>
#include <vector>

#include "server/convert_request.h"
#include "server/json_options.h"
#include "server/oip/tensors.h"

namespace kvpareto::server::oip {
namespace {

// The options of a language model behind Triton's vLLM backend, as JSON text in one tensor.
absl::Status ReadSamplingParameters(JsonReader* inputs, v1::GenerateRequest* request) {
  std::string text;
  KVP_RETURN_IF_ERROR(inputs->Read("sampling_parameters", &text));
  if (text.empty()) return absl::OkStatus();
  KVP_ASSIGN_OR_RETURN(JsonReader json, JsonReader::Parse(text, "sampling_parameters",
                                                          JsonReader::Numbers::kAlsoInStrings));
  KVP_RETURN_IF_ERROR(ReadSamplingOptions(&json, request));
  KVP_RETURN_IF_ERROR(ReadKvOptions(&json, "kv_", request->mutable_kv()));
  std::vector<std::string> stop;
  KVP_RETURN_IF_ERROR(json.Read("stop", &stop));
  request->mutable_stopping()->mutable_stop_strings()->Add(stop.begin(), stop.end());
  std::optional<int32_t> sequences;
  KVP_RETURN_IF_ERROR(json.Read("n", &sequences));
  if (sequences.value_or(1) != 1) return json.Error("n", "must be 1");
  return json.CheckNoOtherKeys();
}

// The tensors of Triton's TensorRT-LLM models.
absl::Status ReadTensorOptions(JsonReader* inputs, v1::GenerateRequest* request) {
  KVP_RETURN_IF_ERROR(ReadSamplingOptions(inputs, request));
  std::vector<std::string> words;
  KVP_RETURN_IF_ERROR(inputs->Read("stop_words", &words));
  for (std::string& word : words) {
    if (!word.empty()) request->mutable_stopping()->add_stop_strings(std::move(word));
  }
  words.clear();
  KVP_RETURN_IF_ERROR(inputs->Read("bad_words", &words));
  for (const std::string& word : words) {
    if (!word.empty()) return inputs->Error("bad_words", "is not supported");
  }
  return absl::OkStatus();
}

absl::Status ReadFlag(JsonReader* inputs, const std::string& name, bool* flag) {
  std::optional<bool> value;
  KVP_RETURN_IF_ERROR(inputs->Read(name, &value));
  *flag = value.value_or(*flag);
  return absl::OkStatus();
}

absl::Status ReadOutputs(const inference::ModelInferRequest& request, JsonReader* inputs,
                         std::set<std::string>* outputs) {
  static const std::set<std::string> known = {kTextOutput, kFinishReason, kNumInputTokens,
                                              kNumOutputTokens, kCumLogProbs};
  if (request.outputs().empty()) outputs->insert(kTextOutput);
  for (const auto& output : request.outputs()) {
    if (!known.contains(output.name())) {
      return FieldError("OPTION_UNKNOWN", "outputs", "names an output that models do not have");
    }
    outputs->insert(output.name());
  }
  for (const char* name : {kFinishReason, kNumInputTokens, kNumOutputTokens}) {
    bool wanted = false;
    KVP_RETURN_IF_ERROR(ReadFlag(inputs, std::string("return_") + name, &wanted));
    if (wanted) outputs->insert(name);
  }
  return absl::OkStatus();
}

absl::Status ReadInputs(const inference::ModelInferRequest& request, InferCall* call) {
  KVP_ASSIGN_OR_RETURN(nlohmann::json object, InputsToJson(request));
  KVP_ASSIGN_OR_RETURN(JsonReader inputs, JsonReader::Create(std::move(object), "inputs"));
  std::string text;
  KVP_RETURN_IF_ERROR(inputs.Read("text_input", &text));
  if (text.empty()) return FieldError("EMPTY_PROMPT", "inputs.text_input", "must not be empty");
  call->request.mutable_prompt()->set_text(std::move(text));
  KVP_RETURN_IF_ERROR(ReadFlag(&inputs, "stream", &call->stream));
  std::optional<bool> exclude_input;
  KVP_RETURN_IF_ERROR(inputs.Read("exclude_input_in_output", &exclude_input));
  call->prepend_input = !exclude_input.value_or(true);
  KVP_RETURN_IF_ERROR(ReadSamplingParameters(&inputs, &call->request));
  KVP_RETURN_IF_ERROR(ReadTensorOptions(&inputs, &call->request));
  KVP_RETURN_IF_ERROR(ReadOutputs(request, &inputs, &call->outputs));
  return inputs.CheckNoOtherKeys();
}

absl::Status ReadParameters(const inference::ModelInferRequest& request, InferCall* call) {
  KVP_ASSIGN_OR_RETURN(JsonReader parameters,
                       JsonReader::Create(ParametersToJson(request.parameters()), "parameters"));
  // Of the protocol; requests are independent of each other and served in order of arrival.
  parameters.Ignore({"sequence_id", "sequence_start", "sequence_end", "priority"});
  KVP_RETURN_IF_ERROR(ReadKvOptions(&parameters, "kv_", call->request.mutable_kv()));
  KVP_RETURN_IF_ERROR(parameters.Read("service_class", call->request.mutable_service_class()));
  KVP_RETURN_IF_ERROR(
      ReadFlag(&parameters, "triton_enable_empty_final_response", &call->empty_final_response));
  std::optional<uint64_t> timeout_us;
  KVP_RETURN_IF_ERROR(parameters.Read("timeout", &timeout_us));
  constexpr uint64_t kYearUs = uint64_t{365} * 24 * 3600 * 1'000'000;
  if (timeout_us.value_or(0) > 0 && *timeout_us < kYearUs) {
    call->timeout = std::chrono::microseconds(*timeout_us);
  }
  return parameters.CheckNoOtherKeys();
}

}  // namespace

absl::Status CheckVersion(const std::string& model, const std::string& version) {
  if (version.empty() || version == kVersion) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND",
                   "the only version of a model is " + std::string(kVersion),
                   {{"model", model}, {"version", version}});
}

absl::StatusOr<InferCall> ToInferCall(const inference::ModelInferRequest& request) {
  InferCall call;
  KVP_RETURN_IF_ERROR(CheckVersion(request.model_name(), request.model_version()));
  call.request.set_model(request.model_name());
  // Ids of the protocol are free text; the server makes its own where they cannot be ours.
  if (IsRequestId(request.id())) call.request.set_request_id(request.id());
  KVP_RETURN_IF_ERROR(ReadInputs(request, &call));
  KVP_RETURN_IF_ERROR(ReadParameters(request, &call));
  v1::ResponseOptions* response = call.request.mutable_response();
  response->set_token_ids(call.outputs.contains(kNumOutputTokens));
  if (call.outputs.contains(kCumLogProbs)) response->set_top_logprobs(0);
  return call;
}

}  // namespace kvpareto::server::oip
