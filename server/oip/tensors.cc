#include "server/oip/tensors.h"

#include <bit>
#include <cstring>
#include <string_view>

#include "server/json_reader.h"
#include "server/utf8.h"

namespace kvpareto::server::oip {
namespace {

using inference::InferTensorContents;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using nlohmann::json;
using InputTensor = ModelInferRequest::InferInputTensor;

static_assert(std::endian::native == std::endian::little, "raw contents are little-endian");

absl::Status Invalid(const InputTensor& tensor, const std::string& rule) {
  return FieldError("TENSOR_INVALID", tensor.name(), rule);
}

// No option has more elements than that; it bounds products of hostile shapes.
constexpr int64_t kMaxElements = 1 << 16;

absl::StatusOr<int64_t> CountElements(const InputTensor& tensor) {
  int64_t count = 1;
  for (const int64_t extent : tensor.shape()) {
    if (extent < 0 || extent > kMaxElements) return Invalid(tensor, "has a shape out of range");
    count *= extent;
    if (count > kMaxElements) return Invalid(tensor, "has too many elements");
  }
  return count;
}

template <typename Element>
json FixedSize(std::string_view raw) {
  json list = json::array();
  for (size_t at = 0; at + sizeof(Element) <= raw.size(); at += sizeof(Element)) {
    Element element;
    std::memcpy(&element, raw.data() + at, sizeof(Element));
    list.push_back(element);
  }
  return list;
}

absl::StatusOr<json> Strings(const InputTensor& tensor, std::string_view raw) {
  json list = json::array();
  while (!raw.empty()) {
    uint32_t length = 0;
    if (raw.size() < sizeof(length)) return Invalid(tensor, "ends within a length");
    std::memcpy(&length, raw.data(), sizeof(length));
    raw.remove_prefix(sizeof(length));
    if (raw.size() < length) return Invalid(tensor, "ends within an element");
    list.push_back(std::string(raw.substr(0, length)));
    raw.remove_prefix(length);
  }
  return list;
}

absl::StatusOr<json> FromRaw(const InputTensor& tensor, std::string_view raw) {
  const std::string& type = tensor.datatype();
  if (type == "BYTES") return Strings(tensor, raw);
  size_t size = 0;
  json list;
  const auto read = [&]<typename Element>(Element) {
    size = sizeof(Element);
    list = FixedSize<Element>(raw);
  };
  if (type == "BOOL") {
    read(uint8_t{});  // any other byte than 0 is true
    for (json& element : list) element = element.get<int>() != 0;
  }
  if (type == "INT8") read(int8_t{});
  if (type == "INT16") read(int16_t{});
  if (type == "INT32") read(int32_t{});
  if (type == "INT64") read(int64_t{});
  if (type == "UINT8") read(uint8_t{});
  if (type == "UINT16") read(uint16_t{});
  if (type == "UINT32") read(uint32_t{});
  if (type == "UINT64") read(uint64_t{});
  if (type == "FP32") read(float{});
  if (type == "FP64") read(double{});
  if (size == 0) return Invalid(tensor, "has a datatype that no input has");
  if (raw.size() % size != 0) return Invalid(tensor, "ends within an element");
  return list;
}

absl::StatusOr<json> FromContents(const InputTensor& tensor) {
  const InferTensorContents& contents = tensor.contents();
  const std::string& type = tensor.datatype();
  json list = json::array();
  const auto copy = [&](const auto& elements) {
    for (const auto& element : elements) list.push_back(element);
  };
  if (type == "BYTES") copy(contents.bytes_contents());
  if (type == "BOOL") copy(contents.bool_contents());
  if (type == "INT8" || type == "INT16" || type == "INT32") copy(contents.int_contents());
  if (type == "INT64") copy(contents.int64_contents());
  if (type == "UINT8" || type == "UINT16" || type == "UINT32") copy(contents.uint_contents());
  if (type == "UINT64") copy(contents.uint64_contents());
  if (type == "FP32") copy(contents.fp32_contents());
  if (type == "FP64") copy(contents.fp64_contents());
  return list;
}

absl::Status CheckUtf8(const InputTensor& tensor, const json& list) {
  for (const json& element : list) {
    if (!element.is_string()) continue;
    const std::string& text = element.get_ref<const std::string&>();
    if (ValidUtf8Prefix(text) != text.size()) {
      return FieldError("INVALID_UTF8", tensor.name(), "is not valid UTF-8");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<json> ToJson(const InputTensor& tensor, const std::string* raw) {
  KVP_ASSIGN_OR_RETURN(const int64_t count, CountElements(tensor));
  KVP_ASSIGN_OR_RETURN(json list, raw == nullptr ? FromContents(tensor) : FromRaw(tensor, *raw));
  if (static_cast<int64_t>(list.size()) != count) {
    return Invalid(tensor, "has " + std::to_string(list.size()) +
                               " elements where its shape says " + std::to_string(count));
  }
  KVP_RETURN_IF_ERROR(CheckUtf8(tensor, list));
  return count == 1 ? list.front() : list;
}

void AddOutput(const std::string& name, const std::string& datatype, std::string raw,
               ModelInferResponse* response) {
  ModelInferResponse::InferOutputTensor* output = response->add_outputs();
  output->set_name(name);
  output->set_datatype(datatype);
  output->add_shape(1);
  response->add_raw_output_contents(std::move(raw));
}

template <typename Element>
std::string RawBytes(Element element) {
  return std::string(reinterpret_cast<const char*>(&element), sizeof(element));
}

}  // namespace

absl::StatusOr<json> InputsToJson(const ModelInferRequest& request) {
  const bool raw = request.raw_input_contents_size() > 0;
  if (raw && request.raw_input_contents_size() != request.inputs_size()) {
    return FieldError("TENSOR_INVALID", "raw_input_contents", "must have one entry per input");
  }
  json inputs = json::object();
  for (int i = 0; i < request.inputs_size(); ++i) {
    const InputTensor& tensor = request.inputs(i);
    if (ValidUtf8Prefix(tensor.name()) != tensor.name().size()) {
      return FieldError("INVALID_UTF8", "inputs.name", "is not valid UTF-8");
    }
    if (inputs.contains(tensor.name())) return Invalid(tensor, "is there twice");
    KVP_ASSIGN_OR_RETURN(inputs[tensor.name()],
                         ToJson(tensor, raw ? &request.raw_input_contents(i) : nullptr));
  }
  return inputs;
}

json ParametersToJson(
    const google::protobuf::Map<std::string, inference::InferParameter>& parameters) {
  using Parameter = inference::InferParameter;
  json object = json::object();
  for (const auto& [name, parameter] : parameters) {
    json& value = object[name];
    switch (parameter.parameter_choice_case()) {
      case Parameter::kBoolParam:
        value = parameter.bool_param();
        break;
      case Parameter::kInt64Param:
        value = parameter.int64_param();
        break;
      case Parameter::kStringParam:
        value = parameter.string_param();
        break;
      case Parameter::kDoubleParam:
        value = parameter.double_param();
        break;
      case Parameter::kUint64Param:
        value = parameter.uint64_param();
        break;
      case Parameter::PARAMETER_CHOICE_NOT_SET:
        break;
    }
  }
  return object;
}

void AddBytes(const std::string& name, const std::string& value, ModelInferResponse* response) {
  AddOutput(name, "BYTES", RawBytes(static_cast<uint32_t>(value.size())) + value, response);
}

void AddInt32(const std::string& name, int32_t value, ModelInferResponse* response) {
  AddOutput(name, "INT32", RawBytes(value), response);
}

void AddFloat(const std::string& name, float value, ModelInferResponse* response) {
  AddOutput(name, "FP32", RawBytes(value), response);
}

}  // namespace kvpareto::server::oip
