// AutoAWQ checkpoints, good and bad, as directories on disk.
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/model/model_source.h"
#include "engine/ops/dequantize_rows.h"
#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto {
namespace {

using support::MakeTinyModel;
using support::ReadBytes;
using support::TempDir;
using support::TinyModel;
using support::WriteBytes;
using Json = nlohmann::json;

constexpr support::HfWriteOptions kAwq64{.awq_group_cols = 64};

TEST(AwqCheckpoint, HoldsItsValuesInGroups) {
  const TempDir dir;
  for (const Architecture architecture : {Architecture::kLlama, Architecture::kQwen2}) {
    const TinyModel model = MakeTinyModel({.architecture = architecture, .tied = false});
    support::WriteHfDirectory(model, dir.path(), kAwq64);
    const auto source = OpenModel(dir.path());
    ASSERT_TRUE(source.ok()) << source.status();
    TinyModel dense = support::AwqRounded(model, 64);
    for (const auto& tensor : dense.tensors) {
      const auto view = (*source)->Tensor(tensor.name);
      ASSERT_TRUE(view.ok()) << view.status();
      const TensorView original{
          .name = tensor.name, .type = tensor.type, .shape = tensor.shape, .data = tensor.data};
      EXPECT_EQ(view->shape, tensor.shape);
      EXPECT_EQ(DequantizeAll(*view), DequantizeAll(original)) << tensor.name;
    }
    EXPECT_EQ((*source)->Tensor("blk.1.ffn_down.weight")->type, TensorType::kAwq4);
    EXPECT_EQ((*source)->Tensor("blk.1.ffn_down.weight")->awq.group_cols, 64);
    EXPECT_EQ((*source)->Tensor("output.weight")->type, TensorType::kF16);
  }
}

TEST(AwqCheckpoint, FingerprintFollowsScalesAndZeros) {
  const TempDir dir;
  support::WriteHfDirectory(MakeTinyModel(), dir.path(), kAwq64);
  const std::string base = (*OpenModel(dir.path()))->fingerprint();
  const std::string path = dir.File("model.safetensors");
  const std::string bytes = ReadBytes(path);
  const size_t header = 8 + *reinterpret_cast<const uint64_t*>(bytes.data());
  const Json json = Json::parse(bytes.substr(8, header - 8));
  for (const char* part : {"qweight", "qzeros", "scales"}) {
    const std::string name = std::string("model.layers.0.self_attn.q_proj.") + part;
    std::string changed = bytes;
    changed[header + json[name]["data_offsets"][0].get<size_t>()] ^= 1;
    WriteBytes(path, changed);
    EXPECT_NE((*OpenModel(dir.path()))->fingerprint(), base) << part;
  }
}

// A directory of which config.json and the safetensors header were changed.
absl::Status ChangedError(const std::function<void(Json& quantization)>& change_config,
                          const std::function<void(Json& header)>& change_header) {
  const TempDir dir;
  support::WriteHfDirectory(MakeTinyModel(), dir.path(), kAwq64);
  Json config = Json::parse(ReadBytes(dir.File("config.json")));
  change_config(config["quantization_config"]);
  WriteBytes(dir.File("config.json"), config.dump());
  const std::string bytes = ReadBytes(dir.File("model.safetensors"));
  const size_t data = 8 + *reinterpret_cast<const uint64_t*>(bytes.data());
  Json header = Json::parse(bytes.substr(8, data - 8));
  change_header(header);
  WriteBytes(dir.File("model.safetensors"),
             support::SafetensorsFile(header.dump(), bytes.substr(data)));
  return OpenModel(dir.path()).status();
}

absl::Status ConfigError(const std::string& key, const Json& value) {
  return ChangedError([&](Json& quantization) { quantization[key] = value; }, [](Json&) {});
}

TEST(AwqCheckpoint, OtherMethodsAreRefused) {
  const std::string unsupported = "QUANTIZATION_UNSUPPORTED";
  EXPECT_TRUE(Fails(ConfigError("quant_method", "gptq"), unsupported, "gptq"));
  EXPECT_TRUE(Fails(ConfigError("quant_method", Json()), unsupported, "quant_method"));
  EXPECT_TRUE(Fails(ConfigError("version", "gemv"), unsupported, "gemv"));
  EXPECT_TRUE(Fails(ConfigError("version", "marlin"), unsupported, "marlin"));
  EXPECT_TRUE(Fails(ConfigError("bits", 8), unsupported, "8"));
  EXPECT_TRUE(Fails(ConfigError("zero_point", false), unsupported, "zero_point"));
  EXPECT_TRUE(ConfigError("version", "GEMM").ok());
}

TEST(AwqCheckpoint, ImpossibleConfigurations) {
  EXPECT_TRUE(Fails(ConfigError("group_size", 0), "MODEL_CONFIG_INVALID", "group_size"));
  EXPECT_TRUE(Fails(ConfigError("group_size", -2), "MODEL_CONFIG_INVALID", "group_size"));
  EXPECT_TRUE(Fails(ConfigError("group_size", "64"), "MODEL_CONFIG_INVALID", "group_size"));
  EXPECT_TRUE(Fails(ConfigError("bits", 4.5), "MODEL_CONFIG_INVALID", "bits"));
  EXPECT_TRUE(Fails(ConfigError("modules_to_not_convert", "lm_head"), "MODEL_CONFIG_INVALID",
                    "modules_to_not_convert"));
  EXPECT_TRUE(Fails(ConfigError("modules_to_not_convert", {"o_proj"}), "MODEL_CONFIG_INVALID",
                    "o_proj.qweight"));
  EXPECT_TRUE(ConfigError("modules_to_not_convert", {"lm_head"}).ok());
}

TEST(AwqCheckpoint, GroupsThatDoNotFit) {
  EXPECT_TRUE(Fails(ConfigError("group_size", 96), "MODEL_FILE_CORRUPT", "groups of 96"));
  EXPECT_TRUE(Fails(ConfigError("group_size", 16), "QUANTIZATION_UNSUPPORTED", "16"));
  EXPECT_TRUE(Fails(ConfigError("group_size", 128), "MODEL_FILE_CORRUPT", "qzeros"));
  EXPECT_TRUE(Fails(ConfigError("group_size", -1), "MODEL_FILE_CORRUPT", "qzeros"));
}

absl::Status HeaderError(const std::function<void(Json& header)>& change) {
  return ChangedError([](Json&) {}, change);
}

constexpr char kModule[] = "model.layers.1.mlp.up_proj";

TEST(AwqCheckpoint, MissingParts) {
  for (const char* part : {".qweight", ".qzeros", ".scales"}) {
    const auto status =
        HeaderError([&](Json& header) { header.erase(kModule + std::string(part)); });
    EXPECT_TRUE(Fails(
        status, part == std::string(".qweight") ? "MODEL_CONFIG_INVALID" : "MODEL_FILE_CORRUPT",
        "up"))
        << status;
  }
}

TEST(AwqCheckpoint, PartsAtOddsWithEachOther) {
  // Shapes of the same size; up_proj has 128 input and 256 output features.
  for (const auto& [part, shape] :
       std::vector<std::pair<std::string, std::vector<int>>>{{".qweight", {64, 64}},
                                                             {".qzeros", {1, 64}},
                                                             {".scales", {4, 128}},
                                                             {".scales", {512}}}) {
    const auto status = HeaderError([&](Json& header) { header[kModule + part]["shape"] = shape; });
    EXPECT_TRUE(Fails(status, "MODEL_FILE_CORRUPT", "ffn_up")) << status;
  }
  EXPECT_TRUE(Fails(
      HeaderError([](Json& header) { header[std::string(kModule) + ".scales"]["dtype"] = "BF16"; }),
      "MODEL_FILE_CORRUPT", "BF16"));
  EXPECT_TRUE(Fails(HeaderError([](Json& header) {
                      header["model.layers.1.mlp.up_proj.weight"] =
                          header["model.layers.1.mlp.up_proj.scales"];
                      header["model.layers.1.mlp.up_proj.weight"]["data_offsets"] = {0, 0};
                      header["model.layers.1.mlp.up_proj.weight"]["shape"] = {0};
                    }),
                    "MODEL_FILE_CORRUPT"));
}

TEST(AwqCheckpoint, IntegersThatNothingExplains) {
  const TempDir dir;
  support::WriteHfDirectory(MakeTinyModel(), dir.path());
  const std::string bytes = ReadBytes(dir.File("model.safetensors"));
  const size_t data = 8 + *reinterpret_cast<const uint64_t*>(bytes.data());
  Json header = Json::parse(bytes.substr(8, data - 8));
  header["model.norm.weight"]["dtype"] = "I32";
  WriteBytes(dir.File("model.safetensors"),
             support::SafetensorsFile(header.dump(), bytes.substr(data)));
  EXPECT_TRUE(Fails(OpenModel(dir.path()).status(), "TENSOR_TYPE_UNSUPPORTED", "I32"));
}

TEST(AwqCheckpoint, CutOffAnywhere) {
  const TempDir dir;
  support::WriteHfDirectory(MakeTinyModel({.layers = 1}), dir.path(), kAwq64);
  const std::string bytes = ReadBytes(dir.File("model.safetensors"));
  for (int i = 0; i < 40; ++i) {
    WriteBytes(dir.File("model.safetensors"), bytes.substr(0, bytes.size() * i / 40));
    const absl::Status status = OpenModel(dir.path()).status();
    EXPECT_FALSE(status.ok()) << i;
    EXPECT_TRUE(ReasonOf(status) == "MODEL_FILE_TRUNCATED" ||
                ReasonOf(status) == "MODEL_FILE_CORRUPT")
        << status;
  }
}

}  // namespace
}  // namespace kvpareto
