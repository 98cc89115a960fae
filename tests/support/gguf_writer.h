// Writes GGUF files, right ones and (for the tests of the reader) wrong ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/tensor.h"

namespace kvpareto::support {

// Value types of GGUF metadata.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// Little-endian bytes.
template <typename T>
void PutNumber(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
void PutString(std::string& out, std::string_view text);  // 64-bit length, bytes

// The type's number in GGUF files.
uint32_t GgmlType(TensorType type);

class GgufWriter {
 public:
  uint32_t version = 3;
  uint32_t alignment = 32;  // not written: add "general.alignment" where it differs

  void AddRaw(std::string_view key, GgufType type, std::string_view payload);
  void AddU32(std::string_view key, uint32_t value);
  void AddF32(std::string_view key, float value);
  void AddBool(std::string_view key, bool value);
  void AddString(std::string_view key, std::string_view value);
  void AddStrings(std::string_view key, const std::vector<std::string>& values);
  void AddI32s(std::string_view key, const std::vector<int32_t>& values);
  void AddF32s(std::string_view key, const std::vector<float>& values);

  // `dims` innermost first, as in the file. The data is placed at the next aligned offset.
  void AddTensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t ggml_type,
                 std::string_view data);
  // The tensor's entry alone, with any offset.
  void AddTensorInfo(std::string_view name, const std::vector<uint64_t>& dims, uint32_t ggml_type,
                     uint64_t offset);

  std::string Finish() const;

 private:
  uint64_t num_values_ = 0;
  uint64_t num_tensors_ = 0;
  std::string values_;
  std::string infos_;
  std::string data_;
};

}  // namespace kvpareto::support
