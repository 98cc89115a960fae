#include "engine/model/gguf.h"

#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"
#include "tests/support/gguf_writer.h"

namespace kvpareto {
namespace {

using support::GgufType;
using support::GgufWriter;
using support::PutNumber;
using support::PutString;

std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <typename T>
void AddNumber(GgufWriter& writer, std::string_view key, GgufType type, T value) {
  std::string payload;
  PutNumber(payload, value);
  writer.AddRaw(key, type, payload);
}

absl::Status ParseError(const std::string& bytes) {
  return GgufFile::Parse(AsBytes(bytes)).status();
}

// A file with one metadata value of any payload.
std::string WithValue(GgufType type, const std::string& payload) {
  GgufWriter writer;
  writer.AddRaw("key", type, payload);
  return writer.Finish();
}

TEST(Gguf, EveryValueType) {
  GgufWriter writer;
  AddNumber<uint8_t>(writer, "u8", GgufType::kU8, 200);
  AddNumber<int8_t>(writer, "i8", GgufType::kI8, -100);
  AddNumber<uint16_t>(writer, "u16", GgufType::kU16, 60000);
  AddNumber<int16_t>(writer, "i16", GgufType::kI16, -30000);
  AddNumber<uint32_t>(writer, "u32", GgufType::kU32, 4000000000u);
  AddNumber<int32_t>(writer, "i32", GgufType::kI32, -2000000000);
  AddNumber<uint64_t>(writer, "u64", GgufType::kU64, 1ull << 62);
  AddNumber<int64_t>(writer, "i64", GgufType::kI64, -(1ll << 62));
  AddNumber<float>(writer, "f32", GgufType::kF32, 0.5f);
  AddNumber<double>(writer, "f64", GgufType::kF64, 0.1);
  writer.AddBool("yes", true);
  writer.AddString("text", "käse");
  writer.AddStrings("texts", {"a", "", "bc"});
  writer.AddI32s("ints", {-1, 7});
  writer.AddF32s("floats", {1.5f, -2.0f});
  const std::string bytes = writer.Finish();
  const absl::StatusOr<GgufFile> file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(**file->Int("u8"), 200);
  EXPECT_EQ(**file->Int("i8"), -100);
  EXPECT_EQ(**file->Int("u16"), 60000);
  EXPECT_EQ(**file->Int("i16"), -30000);
  EXPECT_EQ(**file->Int("u32"), 4000000000);
  EXPECT_EQ(**file->Int("i32"), -2000000000);
  EXPECT_EQ(**file->Int("u64"), 1ll << 62);
  EXPECT_EQ(**file->Int("i64"), -(1ll << 62));
  EXPECT_EQ(**file->Number("f32"), 0.5);
  EXPECT_EQ(**file->Number("f64"), 0.1);
  EXPECT_EQ(**file->Number("i8"), -100.0);
  EXPECT_TRUE(**file->Bool("yes"));
  EXPECT_EQ(**file->String("text"), "käse");
  EXPECT_EQ(**file->Strings("texts"), (std::vector<std::string_view>{"a", "", "bc"}));
  EXPECT_EQ(**file->Ints("ints"), (std::vector<int64_t>{-1, 7}));
  EXPECT_EQ(**file->Floats("floats"), (std::vector<float>{1.5f, -2.0f}));
  EXPECT_FALSE(file->Int("absent")->has_value());
}

TEST(Gguf, LookUpOfAnotherTypeNamesTheKey) {
  GgufWriter writer;
  writer.AddString("text", "3");
  writer.AddF32("nan", std::numeric_limits<float>::quiet_NaN());
  AddNumber<uint64_t>(writer, "huge", GgufType::kU64, std::numeric_limits<uint64_t>::max());
  const std::string bytes = writer.Finish();
  const GgufFile file = *GgufFile::Parse(AsBytes(bytes));
  EXPECT_TRUE(Fails(file.Int("text").status(), "MODEL_CONFIG_INVALID", "text"));
  EXPECT_TRUE(Fails(file.Number("text").status(), "MODEL_CONFIG_INVALID", "text"));
  EXPECT_TRUE(Fails(file.Number("nan").status(), "MODEL_CONFIG_INVALID", "nan"));
  EXPECT_TRUE(Fails(file.Bool("text").status(), "MODEL_CONFIG_INVALID", "text"));
  EXPECT_TRUE(Fails(file.Strings("text").status(), "MODEL_CONFIG_INVALID", "text"));
  EXPECT_TRUE(Fails(file.Int("huge").status(), "MODEL_CONFIG_INVALID", "huge"));
}

TEST(Gguf, VersionsTwoAndThree) {
  GgufWriter writer;
  writer.version = 2;
  EXPECT_TRUE(ParseError(writer.Finish()).ok());
  writer.version = 3;
  EXPECT_TRUE(ParseError(writer.Finish()).ok());
  for (uint32_t version : {0u, 1u, 4u}) {
    writer.version = version;
    EXPECT_TRUE(Fails(ParseError(writer.Finish()), "MODEL_ARCHITECTURE_UNSUPPORTED", "version"));
  }
  writer.version = 0x03000000;
  EXPECT_TRUE(Fails(ParseError(writer.Finish()), "MODEL_ARCHITECTURE_UNSUPPORTED", "big endian"));
}

TEST(Gguf, TensorsLieAtTheirAlignedOffsets) {
  GgufWriter writer;
  writer.alignment = 64;
  writer.AddU32("general.alignment", 64);
  writer.AddTensor("a", {3}, 0, std::string(12, '\x11'));
  writer.AddTensor("b", {32, 2}, 8, std::string(68, '\x22'));
  const std::string bytes = writer.Finish();
  const absl::StatusOr<GgufFile> file = GgufFile::Parse(AsBytes(bytes));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 2u);
  const TensorView& b = file->tensors()[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.type, TensorType::kQ8_0);
  EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(b.data.size(), 68u);
  EXPECT_EQ(b.data.front(), std::byte{0x22});
  EXPECT_EQ((b.data.data() - AsBytes(bytes).data()) % 64, 0);
}

TEST(GgufHostile, WrongMagic) {
  EXPECT_TRUE(Fails(ParseError("not a model at all, just text"), "MODEL_FILE_CORRUPT", "GGUF"));
}

TEST(GgufHostile, AbsurdCounts) {
  std::string bytes = "GGUF";
  PutNumber<uint32_t>(bytes, 3);
  std::string tensors = bytes, values = bytes;
  PutNumber<uint64_t>(tensors, std::numeric_limits<uint64_t>::max());
  PutNumber<uint64_t>(tensors, 0);
  PutNumber<uint64_t>(values, 0);
  PutNumber<uint64_t>(values, 1ull << 40);
  EXPECT_TRUE(Fails(ParseError(tensors), "MODEL_FILE_CORRUPT", "18446744073709551615 tensors"));
  EXPECT_TRUE(Fails(ParseError(values), "MODEL_FILE_CORRUPT", "metadata values"));
}

TEST(GgufHostile, LengthsBeyondTheFile) {
  std::string text;
  PutNumber<uint64_t>(text, std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(Fails(ParseError(WithValue(GgufType::kString, text)), "MODEL_FILE_TRUNCATED"));
  for (uint32_t element : {0u, 4u, 8u, 9u, 12u}) {
    for (uint64_t count : {uint64_t{1} << 61, std::numeric_limits<uint64_t>::max()}) {
      std::string array;
      PutNumber(array, element);
      PutNumber(array, count);
      EXPECT_TRUE(Fails(ParseError(WithValue(GgufType::kArray, array)), "MODEL_FILE_TRUNCATED"));
    }
  }
}

TEST(GgufHostile, ArraysNestedWithoutEnd) {
  std::string payload;
  for (int depth = 0; depth < 100000; ++depth) {
    PutNumber<uint32_t>(payload, 9);
    PutNumber<uint64_t>(payload, 1);
  }
  EXPECT_TRUE(
      Fails(ParseError(WithValue(GgufType::kArray, payload)), "MODEL_FILE_CORRUPT", "nest"));
}

TEST(GgufHostile, ValuesThatDoNotExist) {
  EXPECT_TRUE(Fails(ParseError(WithValue(static_cast<GgufType>(13), "")), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(ParseError(WithValue(GgufType::kBool, "\x02")), "MODEL_FILE_CORRUPT", "key"));
}

TEST(GgufHostile, KeysTwiceOrEmpty) {
  GgufWriter twice;
  twice.AddBool("key", true);
  twice.AddBool("key", false);
  EXPECT_TRUE(Fails(ParseError(twice.Finish()), "MODEL_FILE_CORRUPT", "twice"));
  GgufWriter empty;
  empty.AddBool("", true);
  EXPECT_TRUE(Fails(ParseError(empty.Finish()), "MODEL_FILE_CORRUPT", "key has 0"));
}

TEST(GgufHostile, Alignment) {
  for (uint32_t alignment : {0u, 3u, 48u, 1u << 30}) {
    GgufWriter writer;
    writer.AddU32("general.alignment", alignment);
    EXPECT_TRUE(Fails(ParseError(writer.Finish()), "MODEL_FILE_CORRUPT", "alignment"));
  }
}

// One tensor entry and 64 bytes of data behind it.
absl::Status TensorError(const std::vector<uint64_t>& dims, uint32_t type, uint64_t offset) {
  GgufWriter writer;
  writer.AddTensorInfo("liar", dims, type, offset);
  std::string bytes = writer.Finish();
  return ParseError(bytes + std::string(64, '\0'));
}

TEST(GgufHostile, TensorsThatLie) {
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  EXPECT_TRUE(TensorError({16}, 0, 0).ok());
  EXPECT_TRUE(Fails(TensorError({17}, 0, 0), "MODEL_FILE_TRUNCATED", "liar"));
  EXPECT_TRUE(Fails(TensorError({8}, 0, 64), "MODEL_FILE_TRUNCATED", "liar"));
  EXPECT_TRUE(Fails(TensorError({8}, 0, kHuge / 32 * 32), "MODEL_FILE_TRUNCATED", "liar"));
  EXPECT_TRUE(Fails(TensorError({8}, 0, 4), "MODEL_FILE_CORRUPT", "aligned"));
  EXPECT_TRUE(Fails(TensorError({0}, 0, 0), "MODEL_FILE_CORRUPT", "shape"));
  EXPECT_TRUE(Fails(TensorError({kHuge}, 0, 0), "MODEL_FILE_CORRUPT", "shape"));
  EXPECT_TRUE(Fails(TensorError({1ull << 32, 1ull << 32}, 0, 0), "MODEL_FILE_CORRUPT", "shape"));
  EXPECT_TRUE(Fails(TensorError({1ull << 62}, 0, 0), "MODEL_FILE_CORRUPT", "shape"));
  EXPECT_TRUE(Fails(TensorError({}, 0, 0), "MODEL_FILE_CORRUPT", "dimensions"));
  EXPECT_TRUE(Fails(TensorError({1, 1, 1, 1, 1}, 0, 0), "MODEL_FILE_CORRUPT", "dimensions"));
  EXPECT_TRUE(Fails(TensorError({33}, 8, 0), "MODEL_FILE_CORRUPT", "whole blocks"));
}

TEST(GgufHostile, UnsupportedTypesAreNamed) {
  EXPECT_TRUE(Fails(TensorError({256}, 10, 0), "TENSOR_TYPE_UNSUPPORTED", "liar: type Q2_K"));
  EXPECT_TRUE(Fails(TensorError({256}, 23, 0), "TENSOR_TYPE_UNSUPPORTED", "IQ4_XS"));
  EXPECT_TRUE(Fails(TensorError({256}, 4000, 0), "TENSOR_TYPE_UNSUPPORTED", "4000"));
}

TEST(GgufHostile, TensorsThatShareBytes) {
  GgufWriter writer;
  writer.AddTensorInfo("first", {16}, 0, 0);
  writer.AddTensorInfo("second", {4}, 0, 32);
  EXPECT_TRUE(Fails(ParseError(writer.Finish() + std::string(64, '\0')), "MODEL_FILE_CORRUPT",
                    "first and second overlap"));
}

}  // namespace
}  // namespace kvpareto
