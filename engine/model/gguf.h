// The GGUF container (versions 2 and 3, little endian): metadata and tensors, before anything is
// made of them. Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/tensor.h"

namespace kvpareto {

enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Elements as they lie in the file; strings and nested arrays have been walked, so they fit.
struct GgufArray {
  GgufValueType element = GgufValueType::kUint8;
  uint64_t count = 0;
  std::span<const std::byte> data;
};

// Integers of every width are widened to 64 bits, floats to double.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

// Views into the bytes that it was parsed from.
class GgufFile {
 public:
  // Every size, count, offset and nesting depth is checked before use. Errors: INVALID_ARGUMENT
  // (MODEL_FILE_CORRUPT, MODEL_FILE_TRUNCATED), UNIMPLEMENTED (TENSOR_TYPE_UNSUPPORTED naming
  // tensor and type, MODEL_ARCHITECTURE_UNSUPPORTED for an unknown version or byte order).
  static absl::StatusOr<GgufFile> Parse(std::span<const std::byte> bytes);

  const std::vector<TensorView>& tensors() const { return tensors_; }
  const GgufValue* Find(std::string_view key) const;

  // Typed look-ups: nullopt without the key; MODEL_CONFIG_INVALID when it has another type. Any
  // integer type serves where the value fits.
  absl::StatusOr<std::optional<int64_t>> Int(std::string_view key) const;
  absl::StatusOr<std::optional<double>> Number(std::string_view key) const;
  absl::StatusOr<std::optional<bool>> Bool(std::string_view key) const;
  absl::StatusOr<std::optional<std::string_view>> String(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<std::string_view>>> Strings(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<int64_t>>> Ints(std::string_view key) const;
  absl::StatusOr<std::optional<std::vector<float>>> Floats(std::string_view key) const;

 private:
  std::map<std::string_view, GgufValue> values_;
  std::vector<TensorView> tensors_;
};

}  // namespace kvpareto
