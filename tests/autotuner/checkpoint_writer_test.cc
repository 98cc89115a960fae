#include "autotuner/checkpoint_writer.h"

#include <nlohmann/json.hpp>

#include "engine/base/mapped_file.h"
#include "engine/model/safetensors.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::tune {
namespace {

std::vector<std::byte> Bytes(size_t count, int value) {
  return std::vector<std::byte>(count, static_cast<std::byte>(value));
}

const std::vector<TensorPlan> kPlans = {
    {"a", "F16", {4, 8}, 64}, {"b", "I32", {16}, 64}, {"c", "F16", {2}, 4}};

absl::Status WriteAll(CheckpointWriter& writer) {
  KVP_RETURN_IF_ERROR(writer.Write(Bytes(40, 1)));
  KVP_RETURN_IF_ERROR(writer.Write(Bytes(24, 1)));
  KVP_RETURN_IF_ERROR(writer.Write(Bytes(64, 2)));
  KVP_RETURN_IF_ERROR(writer.Write(Bytes(4, 3)));
  return writer.Finish();
}

void ExpectTensor(const std::string& path, size_t index, const std::string& name, size_t bytes,
                  int value) {
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  const auto tensors = ParseSafetensors((*file)->bytes());
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_GT(tensors->size(), index);
  EXPECT_EQ((*tensors)[index].name, name);
  const auto data = (*tensors)[index].data;
  EXPECT_EQ(std::vector<std::byte>(data.begin(), data.end()), Bytes(bytes, value));
}

TEST(CheckpointWriter, OneFile) {
  const support::TempDir dir;
  CheckpointWriter writer(dir.path(), kPlans, 1000);
  ASSERT_TRUE(WriteAll(writer).ok());
  EXPECT_EQ(writer.total_bytes(), 132);
  ExpectTensor(dir.File("model.safetensors"), 0, "a", 64, 1);
  ExpectTensor(dir.File("model.safetensors"), 1, "b", 64, 2);
  ExpectTensor(dir.File("model.safetensors"), 2, "c", 4, 3);
}

TEST(CheckpointWriter, SeveralFilesAndTheirIndex) {
  const support::TempDir dir;
  CheckpointWriter writer(dir.path(), kPlans, 100);
  ASSERT_TRUE(WriteAll(writer).ok());
  ExpectTensor(dir.File("model-00001-of-00002.safetensors"), 0, "a", 64, 1);
  ExpectTensor(dir.File("model-00002-of-00002.safetensors"), 1, "c", 4, 3);
  const auto index =
      nlohmann::json::parse(support::ReadBytes(dir.File("model.safetensors.index.json")));
  EXPECT_EQ(index["weight_map"]["b"], "model-00002-of-00002.safetensors");
  EXPECT_EQ(index["metadata"]["total_size"], 132);
}

TEST(CheckpointWriter, SaysWhatCannotBeWritten) {
  const support::TempDir dir;
  CheckpointWriter writer(dir.File("missing"), kPlans, 1000);
  const absl::Status status = WriteAll(writer);
  EXPECT_EQ(GetErrorInfo(status)->reason, "FILE_NOT_WRITABLE");
}

}  // namespace
}  // namespace kvpareto::tune
