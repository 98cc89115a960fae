// Files cut off and damaged at fixed places: opening one ends in a model or in a Status that says
// what is wrong, never in a crash, and a model that opens can be read to its last byte.
#include <algorithm>
#include <set>

#include "engine/model/model_source.h"
#include "engine/ops/dequantize.h"
#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto {
namespace {

using support::ReadBytes;
using support::TempDir;
using support::WriteBytes;

const std::set<std::string>& FileReasons() {
  static const std::set<std::string> reasons = {
      "MODEL_FILE_CORRUPT",    "MODEL_FILE_TRUNCATED",    "MODEL_CONFIG_INVALID",
      "TOKENIZER_UNSUPPORTED", "TENSOR_TYPE_UNSUPPORTED", "MODEL_ARCHITECTURE_UNSUPPORTED"};
  return reasons;
}

support::TinyModel SmallModel(bool sentencepiece) {
  return support::MakeTinyModel({.layers = 1,
                                 .hidden = 32,
                                 .heads = 2,
                                 .kv_heads = 1,
                                 .head_dim = 16,
                                 .ffn = 32,
                                 .type = TensorType::kQ8_0,
                                 .sentencepiece = sentencepiece});
}

// Reads every tensor of a model that opened.
void ReadThrough(const ModelSource& source) {
  std::vector<float> row;
  for (const char* name : {"token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight",
                           "output_norm.weight"}) {
    const absl::StatusOr<TensorView> tensor = source.Tensor(name);
    ASSERT_TRUE(tensor.ok());
    row.resize(tensor->cols());
    for (int64_t r = 0; r < tensor->rows(); ++r) DequantizeRow(tensor->type, tensor->Row(r), row);
  }
}

// Opens `path`; a failure must carry one of the documented reasons.
bool Opens(const std::string& path, const std::string& what) {
  const auto source = OpenModel(path);
  if (source.ok()) {
    ReadThrough(**source);
    return true;
  }
  EXPECT_TRUE(FileReasons().contains(ReasonOf(source.status()))) << what << ": " << source.status();
  return false;
}

class Gguf : public testing::TestWithParam<bool> {
 protected:
  Gguf() : path_(dir_.File("m.gguf")) {
    support::WriteGguf(SmallModel(GetParam()), path_);
    bytes_ = ReadBytes(path_);
    // All but the tensors' data, whose bytes mean nothing to the reader.
    head_bytes_ = bytes_.find("output_norm.weight") + 64;
  }
  TempDir dir_;
  std::string path_;
  std::string bytes_;
  size_t head_bytes_ = 0;
};

TEST_P(Gguf, CutAnywhereIsTruncated) {
  ASSERT_TRUE(Opens(path_, "whole"));
  // Every length around the start, then in steps that are prime to every field's size; the tail of
  // the file is padding after the last tensor.
  const size_t data_end = bytes_.size() - 32;
  for (size_t size = 0; size < data_end; size += size < 600 ? 1 : size < head_bytes_ ? 7 : 997) {
    WriteBytes(path_, bytes_.substr(0, size));
    const absl::Status status = OpenModel(path_).status();
    ASSERT_TRUE(Fails(status, "MODEL_FILE_TRUNCATED")) << "at " << size;
  }
}

TEST_P(Gguf, FlippedBitsNeverCrash) {
  support::Random random(GetParam() ? 11 : 12);
  int opened = 0, refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = bytes_;
    const int flips = 1 + random.Below(3);
    for (int i = 0; i < flips; ++i) {
      damaged[random.Below(static_cast<int>(head_bytes_))] ^=
          static_cast<char>(1 << random.Below(8));
    }
    WriteBytes(path_, damaged);
    (Opens(path_, "round " + std::to_string(round)) ? opened : refused) += 1;
  }
  EXPECT_GT(opened, 100);  // flips inside token texts
  EXPECT_GT(refused, 100);
}

// Every 32-bit word of the head in turn becomes all ones or zero: lengths, counts, types, offsets.
TEST_P(Gguf, ExtremeNumbersEverywhere) {
  for (size_t at = 0; at + 4 <= head_bytes_; at += 4 + at / 400) {
    for (char fill : {'\xff', '\0', '\x7f'}) {
      std::string damaged = bytes_;
      std::fill_n(damaged.begin() + static_cast<int64_t>(at), 4, fill);
      WriteBytes(path_, damaged);
      Opens(path_, "at " + std::to_string(at));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, Gguf, testing::Bool(), [](const auto& info) {
  return info.param ? "SentencePiece" : "ByteLevel";
});

class HfFile : public testing::TestWithParam<const char*> {
 protected:
  HfFile() : path_(dir_.File(GetParam())) {
    support::WriteHfDirectory(SmallModel(false), dir_.path(), {.max_shard_tensors = 5});
    bytes_ = ReadBytes(path_);
    head_bytes_ = std::min<size_t>(bytes_.size(), 6000);
  }
  TempDir dir_;
  std::string path_;
  std::string bytes_;
  size_t head_bytes_ = 0;
};

TEST_P(HfFile, CutAnywhereIsRefused) {
  ASSERT_TRUE(Opens(dir_.path(), "whole"));
  const size_t step = bytes_.size() / 200 + 1;
  for (size_t size = 0; size < bytes_.size(); size += step) {
    WriteBytes(path_, bytes_.substr(0, size));
    ASSERT_FALSE(Opens(dir_.path(), "cut")) << "at " << size;
  }
}

TEST_P(HfFile, FlippedBitsNeverCrash) {
  support::Random random(13);
  for (int round = 0; round < 500; ++round) {
    std::string damaged = bytes_;
    damaged[random.Below(static_cast<int>(head_bytes_))] ^= static_cast<char>(1 << random.Below(8));
    WriteBytes(path_, damaged);
    const auto source = OpenModel(dir_.path());
    if (source.ok()) {
      ReadThrough(**source);
      continue;
    }
    // A flip in the index may also name a shard that does not exist.
    const bool missing = source.status().code() == absl::StatusCode::kNotFound;
    EXPECT_TRUE(missing || FileReasons().contains(ReasonOf(source.status()))) << source.status();
  }
}

TEST_P(HfFile, DeepNestingIsRefused) {
  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep;
    for (int i = 0; i < 20000; ++i) deep += open;
    WriteBytes(path_, deep);
    EXPECT_FALSE(Opens(dir_.path(), "deep"));
  }
}

INSTANTIATE_TEST_SUITE_P(Files, HfFile,
                         testing::Values("config.json", "tokenizer.json", "tokenizer_config.json",
                                         "generation_config.json", "model.safetensors.index.json",
                                         "model-1-of-3.safetensors"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase_if(name, [](char c) { return !std::isalnum(c); });
                           return name;
                         });

}  // namespace
}  // namespace kvpareto
