#include "server/oip/tensors.h"

#include <gtest/gtest.h>

namespace kvpareto::server::oip {
namespace {

using inference::ModelInferRequest;
using nlohmann::json;

ModelInferRequest::InferInputTensor* Add(ModelInferRequest* request, const std::string& name,
                                         const std::string& datatype,
                                         const std::vector<int64_t>& shape) {
  auto* tensor = request->add_inputs();
  tensor->set_name(name);
  tensor->set_datatype(datatype);
  for (const int64_t extent : shape) tensor->add_shape(extent);
  return tensor;
}

std::string Reason(const std::string& datatype, const std::vector<int64_t>& shape,
                   const std::string& raw) {
  ModelInferRequest request;
  Add(&request, "x", datatype, shape);
  request.add_raw_input_contents(raw);
  const auto inputs = InputsToJson(request);
  return inputs.ok() ? inputs->dump() : GetErrorInfo(inputs.status())->reason;
}

std::string Raw(std::initializer_list<int> bytes) {
  return std::string(bytes.begin(), bytes.end());
}

TEST(Tensors, ReadsRawContents) {
  EXPECT_EQ(Reason("BYTES", {1}, Raw({2, 0, 0, 0, 'h', 'i'})), R"({"x":"hi"})");
  EXPECT_EQ(Reason("BYTES", {1, 2}, Raw({1, 0, 0, 0, 'a', 0, 0, 0, 0})), R"({"x":["a",""]})");
  EXPECT_EQ(Reason("BYTES", {0}, ""), R"({"x":[]})");
  EXPECT_EQ(Reason("BOOL", {1, 1}, Raw({7})), R"({"x":true})");
  EXPECT_EQ(Reason("INT32", {1}, Raw({0xff, 0xff, 0xff, 0xff})), R"({"x":-1})");
  EXPECT_EQ(Reason("UINT64", {1}, std::string(8, '\xff')), R"({"x":18446744073709551615})");
  EXPECT_EQ(Reason("FP32", {2}, Raw({0, 0, 0, 0x3f, 0, 0, 0x80, 0x3f})), R"({"x":[0.5,1.0]})");
}

TEST(Tensors, RefusesWhatDoesNotFit) {
  const std::string kInvalid = "TENSOR_INVALID";
  EXPECT_EQ(Reason("BYTES", {1}, Raw({2, 0, 0, 0, 'h'})), kInvalid);
  EXPECT_EQ(Reason("BYTES", {1}, Raw({0xff, 0xff, 0xff, 0xff, 'h'})), kInvalid);
  EXPECT_EQ(Reason("BYTES", {1}, Raw({2, 0, 0})), kInvalid);
  EXPECT_EQ(Reason("BYTES", {2}, Raw({0, 0, 0, 0})), kInvalid);
  EXPECT_EQ(Reason("BYTES", {-1}, ""), kInvalid);
  EXPECT_EQ(Reason("BYTES", {INT64_MAX, INT64_MAX}, ""), kInvalid);
  EXPECT_EQ(Reason("BYTES", {65536, 65536, 65536, 65536, 0}, ""), kInvalid);
  EXPECT_EQ(Reason("INT32", {1}, Raw({1, 2, 3})), kInvalid);
  EXPECT_EQ(Reason("INT32", {1}, Raw({1, 2, 3, 4, 5, 6, 7, 8})), kInvalid);
  EXPECT_EQ(Reason("FP16", {1}, Raw({1, 2})), kInvalid);
  EXPECT_EQ(Reason("", {1}, ""), kInvalid);
  EXPECT_EQ(Reason("BYTES", {1}, Raw({1, 0, 0, 0, 0xff})), "INVALID_UTF8");
}

TEST(Tensors, ReadsTypedContents) {
  ModelInferRequest request;
  Add(&request, "text", "BYTES", {1})->mutable_contents()->add_bytes_contents("hi");
  Add(&request, "flag", "BOOL", {1})->mutable_contents()->add_bool_contents(true);
  Add(&request, "number", "INT32", {1})->mutable_contents()->add_int_contents(5);
  EXPECT_EQ(*InputsToJson(request), json({{"text", "hi"}, {"flag", true}, {"number", 5}}));
  request.add_raw_input_contents("");  // neither raw nor typed
  EXPECT_FALSE(InputsToJson(request).ok());
}

TEST(Tensors, RefusesANameTwice) {
  ModelInferRequest request;
  Add(&request, "x", "BYTES", {0});
  Add(&request, "x", "BYTES", {0});
  EXPECT_FALSE(InputsToJson(request).ok());
}

}  // namespace
}  // namespace kvpareto::server::oip
