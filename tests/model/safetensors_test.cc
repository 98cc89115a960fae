#include "engine/model/safetensors.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/safetensors_writer.h"

namespace kvpareto {
namespace {

using support::SafetensorsFile;

std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

absl::Status ParseError(const std::string& header, size_t data_bytes = 64) {
  const std::string bytes = SafetensorsFile(header, std::string(data_bytes, '\0'));
  return ParseSafetensors(AsBytes(bytes)).status();
}

std::string Entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return absl::StrCat(R"("w":{"dtype":)", dtype, R"(,"shape":)", shape, R"(,"data_offsets":)",
                      offsets, "}");
}

absl::Status EntryError(const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
  return ParseError(absl::StrCat("{", Entry(dtype, shape, offsets), "}"));
}

TEST(Safetensors, ReadsEveryFloatType) {
  const std::string bytes =
      SafetensorsFile({{"a", "F32", {2, 2}, std::vector<std::byte>(16, std::byte{1})},
                       {"b", "F16", {3}, std::vector<std::byte>(6, std::byte{2})},
                       {"c", "BF16", {1, 5}, std::vector<std::byte>(10, std::byte{3})}});
  const auto tensors = ParseSafetensors(AsBytes(bytes));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 3u);
  EXPECT_EQ((*tensors)[0].type, TensorType::kF32);
  EXPECT_EQ((*tensors)[0].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ((*tensors)[1].type, TensorType::kF16);
  EXPECT_EQ((*tensors)[1].data.size(), 6u);
  EXPECT_EQ((*tensors)[2].type, TensorType::kBf16);
  EXPECT_EQ((*tensors)[2].data[9], std::byte{3});
}

TEST(SafetensorsHostile, HeaderLength) {
  std::string bytes;
  support::PutNumber<uint64_t>(bytes, ~uint64_t{0});
  EXPECT_TRUE(Fails(ParseSafetensors(AsBytes(bytes)).status(), "MODEL_FILE_CORRUPT", "header"));
  bytes.clear();
  support::PutNumber<uint64_t>(bytes, 1000);
  EXPECT_TRUE(Fails(ParseSafetensors(AsBytes(bytes + "{}")).status(), "MODEL_FILE_TRUNCATED"));
  EXPECT_TRUE(Fails(ParseSafetensors(AsBytes("short")).status(), "MODEL_FILE_TRUNCATED"));
}

TEST(SafetensorsHostile, HeaderThatIsNoHeader) {
  EXPECT_TRUE(Fails(ParseError("{"), "MODEL_FILE_CORRUPT", "JSON"));
  EXPECT_TRUE(Fails(ParseError("[]"), "MODEL_FILE_CORRUPT", "object"));
  EXPECT_TRUE(Fails(ParseError("{\"\xff\":1}"), "MODEL_FILE_CORRUPT", "UTF-8"));
  EXPECT_TRUE(Fails(ParseError(R"({"w":3})"), "MODEL_FILE_CORRUPT", "dtype"));
  EXPECT_TRUE(Fails(ParseError(std::string(1 << 20, '[')), "MODEL_FILE_CORRUPT", "nests"));
}

TEST(SafetensorsHostile, EntriesThatLie) {
  EXPECT_TRUE(EntryError(R"("F32")", "[4,4]", "[0,64]").ok());
  const char* kF32 = R"("F32")";
  EXPECT_TRUE(Fails(EntryError(kF32, "[4,5]", "[0,64]"), "MODEL_FILE_CORRUPT", "80 bytes"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[4,4]", "[64,0]"), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[4,4]", "[4,68]"), "MODEL_FILE_TRUNCATED", "68"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[4,4]", "[-64,0]"), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[4,4]", "[0]"), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[4,4]", "[0.0,64.0]"), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[0]", "[0,0]"), "MODEL_FILE_CORRUPT", "shape"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[]", "[0,4]"), "MODEL_FILE_CORRUPT", "shape"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[1,1,1,1,1]", "[0,4]"), "MODEL_FILE_CORRUPT", "shape"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[4294967296,4294967296]", "[0,64]"), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[18446744073709551615]", "[0,64]"), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(EntryError(kF32, "[4611686018427387904]", "[0,0]"), "MODEL_FILE_CORRUPT"));
}

TEST(SafetensorsHostile, UnsupportedTypesAreNamed) {
  EXPECT_TRUE(Fails(EntryError(R"("I64")", "[8]", "[0,64]"), "TENSOR_TYPE_UNSUPPORTED", "I64"));
  EXPECT_TRUE(
      Fails(EntryError(R"("F8_E4M3")", "[64]", "[0,64]"), "TENSOR_TYPE_UNSUPPORTED", "w: type F8"));
}

TEST(SafetensorsHostile, TensorsThatShareBytes) {
  EXPECT_TRUE(Fails(ParseError(R"({"v":{"dtype":"F32","shape":[4],"data_offsets":[8,24]},)" +
                               Entry(R"("F32")", "[4]", "[0,16]") + "}"),
                    "MODEL_FILE_CORRUPT", "overlap"));
}

}  // namespace
}  // namespace kvpareto
