// Tensors of the Open Inference Protocol: elements from raw or typed contents, and back.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "inference/open_inference.pb.h"
#include "server/status.h"

namespace kvpareto::server::oip {

// The inputs as one object: a tensor of one element is a plain value, any other a list. BYTES
// become strings. Errors: INVALID_ARGUMENT with metadata "field": TENSOR_INVALID (datatype, shape
// and contents disagree, or a name is there twice), INVALID_UTF8.
absl::StatusOr<nlohmann::json> InputsToJson(const inference::ModelInferRequest& request);

nlohmann::json ParametersToJson(
    const google::protobuf::Map<std::string, inference::InferParameter>& parameters);

// Each adds one output of shape [elements], with raw contents.
void AddBytes(const std::string& name, const std::string& value,
              inference::ModelInferResponse* response);
void AddInt32(const std::string& name, int32_t value, inference::ModelInferResponse* response);
void AddFloat(const std::string& name, float value, inference::ModelInferResponse* response);

}  // namespace kvpareto::server::oip
