#include "engine/model/safetensors.h"

#include "absl/strings/str_cat.h"
#include "engine/model/byte_reader.h"
#include "engine/model/json.h"
#include "engine/model/tensor_catalog.h"

namespace kvpareto {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
constexpr size_t kMaxDimensions = 4;

absl::StatusOr<TensorType> TypeOf(const std::string& name, const Json& dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBf16;
  if (dtype == "I32") return TensorType::kI32;
  if (!dtype.is_string()) return CorruptFile("tensor " + Printable(name) + " has no dtype");
  return UnsupportedTensorType(name, dtype.get<std::string>());
}

// An array of up to `max_size` non-negative integers.
absl::StatusOr<std::vector<uint64_t>> Sizes(const std::string& name, const Json& array,
                                            size_t max_size) {
  if (!array.is_array() || array.empty() || array.size() > max_size) {
    return CorruptFile("tensor " + Printable(name) + ": shape or data_offsets is no short list");
  }
  std::vector<uint64_t> sizes;
  for (const Json& size : array) {
    if (!size.is_number_unsigned()) {
      return CorruptFile("tensor " + Printable(name) + ": shape or data_offsets holds no size");
    }
    sizes.push_back(size.get<uint64_t>());
  }
  return sizes;
}

absl::StatusOr<TensorView> ReadTensor(const std::string& name, const Json& entry,
                                      std::span<const std::byte> data) {
  TensorView tensor;
  tensor.name = name;
  KVP_ASSIGN_OR_RETURN(tensor.type, TypeOf(name, JsonMember(entry, "dtype")));
  KVP_ASSIGN_OR_RETURN(const std::vector<uint64_t> shape,
                       Sizes(name, JsonMember(entry, "shape"), kMaxDimensions));
  tensor.shape.assign(shape.begin(), shape.end());
  KVP_ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor));
  KVP_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets,
                       Sizes(name, JsonMember(entry, "data_offsets"), 2));
  if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] - offsets[0] != bytes) {
    return CorruptFile(absl::StrCat("tensor ", Printable(name), ": its shape takes ", bytes,
                                    " bytes, its data_offsets do not"));
  }
  if (offsets[1] > data.size()) {
    return TruncatedFile(absl::StrCat("tensor ", Printable(name), " ends at byte ", offsets[1],
                                      " of ", data.size(), " bytes of data"));
  }
  tensor.data = data.subspan(offsets[0], bytes);
  return tensor;
}

}  // namespace

absl::StatusOr<std::vector<TensorView>> ParseSafetensors(
    std::span<const std::byte> bytes, std::map<std::string, std::string>* metadata) {
  ByteReader reader(bytes);
  KVP_ASSIGN_OR_RETURN(const uint64_t header_bytes, reader.Number<uint64_t>());
  if (header_bytes > kMaxHeaderBytes) {
    return CorruptFile(absl::StrCat("a header of ", header_bytes, " bytes; at most ",
                                    kMaxHeaderBytes, " are read"));
  }
  KVP_ASSIGN_OR_RETURN(const std::span<const std::byte> header, reader.Take(header_bytes));
  KVP_ASSIGN_OR_RETURN(const Json json,
                       ParseJson({reinterpret_cast<const char*>(header.data()), header.size()}));
  if (!json.is_object()) return CorruptFile("the header is no JSON object");
  const std::span<const std::byte> data = bytes.subspan(reader.position());
  std::vector<TensorView> tensors;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      if (metadata == nullptr) continue;
      for (const auto& [key, value] : entry.items()) {
        if (value.is_string()) (*metadata)[key] = value.get<std::string>();
      }
      continue;
    }
    KVP_ASSIGN_OR_RETURN(TensorView tensor, ReadTensor(name, entry, data));
    tensors.push_back(std::move(tensor));
  }
  KVP_RETURN_IF_ERROR(CheckNoOverlap(tensors));
  return tensors;
}

}  // namespace kvpareto
