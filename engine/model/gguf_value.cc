#include "engine/model/gguf_value.h"

#include "absl/strings/str_cat.h"

namespace kvpareto {
namespace {

constexpr int kMaxArrayDepth = 4;

absl::StatusOr<GgufValueType> ReadType(ByteReader& reader) {
  KVP_ASSIGN_OR_RETURN(const uint32_t type, reader.Number<uint32_t>());
  if (type > static_cast<uint32_t>(GgufValueType::kFloat64)) {
    return CorruptFile(absl::StrCat("metadata value type ", type, " does not exist"));
  }
  return static_cast<GgufValueType>(type);
}

// Bytes of a fixed-size value; 0 for strings and arrays.
uint64_t SizeOf(GgufValueType type) {
  switch (type) {
    case GgufValueType::kUint8:
    case GgufValueType::kInt8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kUint16:
    case GgufValueType::kInt16:
      return 2;
    case GgufValueType::kUint32:
    case GgufValueType::kInt32:
    case GgufValueType::kFloat32:
      return 4;
    case GgufValueType::kUint64:
    case GgufValueType::kInt64:
    case GgufValueType::kFloat64:
      return 8;
    case GgufValueType::kString:
    case GgufValueType::kArray:
      return 0;
  }
  return 0;
}

absl::Status SkipArray(ByteReader& reader, int depth, GgufArray& array) {
  if (depth > kMaxArrayDepth) {
    return CorruptFile(absl::StrCat("metadata arrays nest deeper than ", kMaxArrayDepth));
  }
  KVP_ASSIGN_OR_RETURN(array.element, ReadType(reader));
  KVP_ASSIGN_OR_RETURN(array.count, reader.Number<uint64_t>());
  // An element takes at least a byte, a string or array at least 8: a count above that is a lie
  // that must not be multiplied or looped over.
  const uint64_t least = SizeOf(array.element) == 0 ? 8 : SizeOf(array.element);
  if (array.count > reader.remaining() / least) {
    return TruncatedFile(absl::StrCat("a metadata array of ", array.count,
                                      " elements does not fit into the remaining ",
                                      reader.remaining(), " bytes"));
  }
  if (SizeOf(array.element) > 0) return reader.Take(array.count * least).status();
  for (uint64_t i = 0; i < array.count; ++i) {
    if (array.element == GgufValueType::kString) {
      KVP_RETURN_IF_ERROR(reader.String().status());
    } else {
      GgufArray inner;
      KVP_RETURN_IF_ERROR(SkipArray(reader, depth + 1, inner));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GgufValue> ReadArray(ByteReader& reader) {
  ByteReader start =
      reader;  // a second cursor: the elements' bytes are what it sees after the head
  GgufArray array;
  KVP_RETURN_IF_ERROR(SkipArray(reader, 1, array));
  constexpr size_t kHeadBytes = 4 + 8;
  const size_t bytes = reader.position() - start.position();
  KVP_RETURN_IF_ERROR(start.Take(kHeadBytes).status());
  KVP_ASSIGN_OR_RETURN(array.data, start.Take(bytes - kHeadBytes));
  return GgufValue(array);
}

template <typename Stored, typename Wide>
absl::StatusOr<GgufValue> ReadAs(ByteReader& reader) {
  KVP_ASSIGN_OR_RETURN(const Stored value, reader.Number<Stored>());
  return GgufValue(static_cast<Wide>(value));
}

}  // namespace

absl::StatusOr<GgufValue> ReadGgufValue(ByteReader& reader) {
  KVP_ASSIGN_OR_RETURN(const GgufValueType type, ReadType(reader));
  switch (type) {
    case GgufValueType::kUint8:
      return ReadAs<uint8_t, uint64_t>(reader);
    case GgufValueType::kInt8:
      return ReadAs<int8_t, int64_t>(reader);
    case GgufValueType::kUint16:
      return ReadAs<uint16_t, uint64_t>(reader);
    case GgufValueType::kInt16:
      return ReadAs<int16_t, int64_t>(reader);
    case GgufValueType::kUint32:
      return ReadAs<uint32_t, uint64_t>(reader);
    case GgufValueType::kInt32:
      return ReadAs<int32_t, int64_t>(reader);
    case GgufValueType::kFloat32:
      return ReadAs<float, double>(reader);
    case GgufValueType::kBool: {
      KVP_ASSIGN_OR_RETURN(const uint8_t value, reader.Number<uint8_t>());
      if (value > 1) return CorruptFile(absl::StrCat("a boolean has the value ", int{value}));
      return GgufValue(value == 1);
    }
    case GgufValueType::kString: {
      KVP_ASSIGN_OR_RETURN(const std::string_view text, reader.String());
      return GgufValue(text);
    }
    case GgufValueType::kArray:
      return ReadArray(reader);
    case GgufValueType::kUint64:
      return ReadAs<uint64_t, uint64_t>(reader);
    case GgufValueType::kInt64:
      return ReadAs<int64_t, int64_t>(reader);
    case GgufValueType::kFloat64:
      return ReadAs<double, double>(reader);
  }
  return CorruptFile("metadata value type does not exist");
}

}  // namespace kvpareto
