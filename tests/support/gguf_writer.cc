#include "tests/support/gguf_writer.h"

#include <array>

namespace kvpareto::support {
namespace {

void Align(std::string& out, uint32_t alignment) {
  out.resize((out.size() + alignment - 1) / alignment * alignment);
}

std::string ArrayHead(GgufType element, uint64_t count) {
  std::string out;
  PutNumber(out, static_cast<uint32_t>(element));
  PutNumber(out, count);
  return out;
}

template <typename T>
std::string Bytes(T value) {
  std::string out;
  PutNumber(out, value);
  return out;
}

}  // namespace

void PutString(std::string& out, std::string_view text) {
  PutNumber<uint64_t>(out, text.size());
  out.append(text);
}

uint32_t GgmlType(TensorType type) {
  static constexpr std::array<uint32_t, 11> kNumbers = {0, 1, 30, 2, 3, 6, 7, 8, 12, 13, 14};
  return kNumbers[static_cast<size_t>(type)];
}

void GgufWriter::AddRaw(std::string_view key, GgufType type, std::string_view payload) {
  PutString(values_, key);
  PutNumber(values_, static_cast<uint32_t>(type));
  values_.append(payload);
  ++num_values_;
}

void GgufWriter::AddU32(std::string_view key, uint32_t value) {
  AddRaw(key, GgufType::kU32, Bytes(value));
}

void GgufWriter::AddF32(std::string_view key, float value) {
  AddRaw(key, GgufType::kF32, Bytes(value));
}

void GgufWriter::AddBool(std::string_view key, bool value) {
  AddRaw(key, GgufType::kBool, Bytes<uint8_t>(value ? 1 : 0));
}

void GgufWriter::AddString(std::string_view key, std::string_view value) {
  std::string payload;
  PutString(payload, value);
  AddRaw(key, GgufType::kString, payload);
}

void GgufWriter::AddStrings(std::string_view key, const std::vector<std::string>& values) {
  std::string payload = ArrayHead(GgufType::kString, values.size());
  for (const std::string& value : values) PutString(payload, value);
  AddRaw(key, GgufType::kArray, payload);
}

void GgufWriter::AddI32s(std::string_view key, const std::vector<int32_t>& values) {
  std::string payload = ArrayHead(GgufType::kI32, values.size());
  for (int32_t value : values) PutNumber(payload, value);
  AddRaw(key, GgufType::kArray, payload);
}

void GgufWriter::AddF32s(std::string_view key, const std::vector<float>& values) {
  std::string payload = ArrayHead(GgufType::kF32, values.size());
  for (float value : values) PutNumber(payload, value);
  AddRaw(key, GgufType::kArray, payload);
}

void GgufWriter::AddTensor(std::string_view name, const std::vector<uint64_t>& dims,
                           uint32_t ggml_type, std::string_view data) {
  Align(data_, alignment);
  AddTensorInfo(name, dims, ggml_type, data_.size());
  data_.append(data);
}

void GgufWriter::AddTensorInfo(std::string_view name, const std::vector<uint64_t>& dims,
                               uint32_t ggml_type, uint64_t offset) {
  PutString(infos_, name);
  PutNumber(infos_, static_cast<uint32_t>(dims.size()));
  for (uint64_t dim : dims) PutNumber(infos_, dim);
  PutNumber(infos_, ggml_type);
  PutNumber(infos_, offset);
  ++num_tensors_;
}

std::string GgufWriter::Finish() const {
  std::string out = "GGUF";
  PutNumber(out, version);
  PutNumber(out, num_tensors_);
  PutNumber(out, num_values_);
  out += values_ + infos_;
  Align(out, alignment);
  out += data_;
  Align(out, alignment);
  return out;
}

}  // namespace kvpareto::support
