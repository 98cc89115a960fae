#include "engine/model/gguf.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "engine/model/byte_reader.h"
#include "engine/model/gguf_value.h"
#include "engine/model/tensor_catalog.h"

namespace kvpareto {
namespace {

constexpr uint64_t kMaxEntries = 1 << 20;  // metadata values, tensors
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint32_t kMaxDimensions = 4;
constexpr size_t kMaxNameBytes = 65535;

// Names of ggml's types by number, for messages; the ones this engine reads carry their TensorType.
struct GgmlType {
  std::string_view name;
  std::optional<TensorType> type;
};
GgmlType GgmlTypeOf(uint32_t number) {
  static constexpr std::array<GgmlType, 40> kTypes = {{
      {"F32", TensorType::kF32},
      {"F16", TensorType::kF16},
      {"Q4_0", TensorType::kQ4_0},
      {"Q4_1", TensorType::kQ4_1},
      {"Q4_2", {}},
      {"Q4_3", {}},
      {"Q5_0", TensorType::kQ5_0},
      {"Q5_1", TensorType::kQ5_1},
      {"Q8_0", TensorType::kQ8_0},
      {"Q8_1", {}},
      {"Q2_K", {}},
      {"Q3_K", {}},
      {"Q4_K", TensorType::kQ4_K},
      {"Q5_K", TensorType::kQ5_K},
      {"Q6_K", TensorType::kQ6_K},
      {"Q8_K", {}},
      {"IQ2_XXS", {}},
      {"IQ2_XS", {}},
      {"IQ3_XXS", {}},
      {"IQ1_S", {}},
      {"IQ4_NL", {}},
      {"IQ3_S", {}},
      {"IQ2_S", {}},
      {"IQ4_XS", {}},
      {"I8", {}},
      {"I16", {}},
      {"I32", {}},
      {"I64", {}},
      {"F64", {}},
      {"IQ1_M", {}},
      {"BF16", TensorType::kBf16},
      {"Q4_0_4_4", {}},
      {"Q4_0_4_8", {}},
      {"Q4_0_8_8", {}},
      {"TQ1_0", {}},
      {"TQ2_0", {}},
      {"IQ4_NL_4_4", {}},
      {"IQ4_NL_4_8", {}},
      {"IQ4_NL_8_8", {}},
      {"MXFP4", {}},
  }};
  return number < kTypes.size() ? kTypes[number] : GgmlType{};
}

struct Header {
  uint64_t num_tensors = 0;
  uint64_t num_values = 0;
};

absl::StatusOr<Header> ReadHeader(ByteReader& reader) {
  KVP_ASSIGN_OR_RETURN(const uint32_t magic, reader.Number<uint32_t>());
  if (magic != 0x46554747) return CorruptFile("not a GGUF file: it does not begin with \"GGUF\"");
  KVP_ASSIGN_OR_RETURN(const uint32_t version, reader.Number<uint32_t>());
  if (version == 0x02000000 || version == 0x03000000) {
    return UnsupportedModel("GGUF byte order", "big endian");
  }
  if (version != 2 && version != 3) {
    return UnsupportedModel("GGUF version", absl::StrCat(version));
  }
  Header header;
  KVP_ASSIGN_OR_RETURN(header.num_tensors, reader.Number<uint64_t>());
  KVP_ASSIGN_OR_RETURN(header.num_values, reader.Number<uint64_t>());
  if (header.num_tensors > kMaxEntries || header.num_values > kMaxEntries) {
    return CorruptFile(absl::StrCat(header.num_tensors, " tensors and ", header.num_values,
                                    " metadata values; at most ", kMaxEntries,
                                    " of each are read"));
  }
  return header;
}

// A tensor's entry, its place not yet known to lie inside the file.
struct TensorEntry {
  TensorView view;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

absl::StatusOr<TensorEntry> ReadTensorEntry(ByteReader& reader) {
  KVP_ASSIGN_OR_RETURN(const std::string_view name, reader.String());
  if (name.empty() || name.size() > kMaxNameBytes) {
    return CorruptFile(absl::StrCat("a tensor's name has ", name.size(), " bytes"));
  }
  TensorEntry entry;
  entry.view.name = std::string(name);
  KVP_ASSIGN_OR_RETURN(const uint32_t num_dims, reader.Number<uint32_t>());
  if (num_dims < 1 || num_dims > kMaxDimensions) {
    return CorruptFile(absl::StrCat("tensor ", Printable(name), " has ", num_dims, " dimensions"));
  }
  for (uint32_t i = 0; i < num_dims; ++i) {
    KVP_ASSIGN_OR_RETURN(const uint64_t dim, reader.Number<uint64_t>());
    entry.view.shape.insert(entry.view.shape.begin(), static_cast<int64_t>(dim));
  }
  KVP_ASSIGN_OR_RETURN(const uint32_t number, reader.Number<uint32_t>());
  KVP_ASSIGN_OR_RETURN(entry.offset, reader.Number<uint64_t>());
  const GgmlType type = GgmlTypeOf(number);
  if (!type.type.has_value()) {
    return UnsupportedTensorType(name,
                                 type.name.empty() ? absl::StrCat(number) : std::string(type.name));
  }
  entry.view.type = *type.type;
  KVP_ASSIGN_OR_RETURN(entry.bytes, TensorBytes(entry.view));
  return entry;
}

// Key -> value, each key once.
absl::StatusOr<std::map<std::string_view, GgufValue>> ReadValues(ByteReader& reader,
                                                                 uint64_t count) {
  std::map<std::string_view, GgufValue> values;
  for (uint64_t i = 0; i < count; ++i) {
    KVP_ASSIGN_OR_RETURN(const std::string_view key, reader.String());
    if (key.empty() || key.size() > kMaxNameBytes) {
      return CorruptFile(absl::StrCat("a metadata key has ", key.size(), " bytes"));
    }
    absl::StatusOr<GgufValue> value = ReadGgufValue(reader);
    if (!value.ok()) return Annotate(value.status(), Printable(key));
    if (!values.emplace(key, *value).second) {
      return CorruptFile("metadata key " + Printable(key) + " occurs twice");
    }
  }
  return values;
}

// Points the tensor at its bytes in the file's data section.
absl::Status Place(std::span<const std::byte> data, uint64_t alignment, TensorEntry& entry) {
  if (entry.offset % alignment != 0) {
    return CorruptFile(absl::StrCat("tensor ", Printable(entry.view.name), " at offset ",
                                    entry.offset, " is not aligned to ", alignment));
  }
  if (entry.offset > data.size() || entry.bytes > data.size() - entry.offset) {
    return TruncatedFile(absl::StrCat("tensor ", Printable(entry.view.name), " needs ", entry.bytes,
                                      " bytes at offset ", entry.offset, ", the file holds ",
                                      data.size(), " bytes of data"));
  }
  entry.view.data = data.subspan(entry.offset, entry.bytes);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufFile> GgufFile::Parse(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  KVP_ASSIGN_OR_RETURN(const Header header, ReadHeader(reader));
  GgufFile file;
  KVP_ASSIGN_OR_RETURN(file.values_, ReadValues(reader, header.num_values));
  std::vector<TensorEntry> entries;
  for (uint64_t i = 0; i < header.num_tensors; ++i) {
    KVP_ASSIGN_OR_RETURN(TensorEntry entry, ReadTensorEntry(reader));
    entries.push_back(std::move(entry));
  }

  KVP_ASSIGN_OR_RETURN(const std::optional<int64_t> stated, file.Int("general.alignment"));
  const uint64_t alignment = static_cast<uint64_t>(stated.value_or(32));
  if (alignment == 0 || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
    return CorruptFile(
        absl::StrCat("general.alignment ", alignment, " is no power of two up to ", kMaxAlignment));
  }
  // The data begins at the next aligned byte, or (without tensors) the file may end before it.
  const uint64_t padding = (alignment - reader.position() % alignment) % alignment;
  const std::span<const std::byte> data =
      bytes.subspan(std::min<uint64_t>(reader.position() + padding, bytes.size()));
  for (TensorEntry& entry : entries) {
    KVP_RETURN_IF_ERROR(Place(data, alignment, entry));
    file.tensors_.push_back(std::move(entry.view));
  }
  KVP_RETURN_IF_ERROR(CheckNoOverlap(file.tensors_));
  return file;
}

}  // namespace kvpareto
