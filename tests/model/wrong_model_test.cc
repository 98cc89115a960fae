// Well-formed files that describe a model which cannot be run: each is refused by name.
#include <functional>
#include <nlohmann/json.hpp>

#include "engine/model/model_source.h"
#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"
#include "tests/support/gguf_writer.h"
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

absl::Status GgufError(const TinyModel& model) {
  const TempDir dir;
  support::WriteGguf(model, dir.File("m.gguf"));
  const absl::Status status = OpenModel(dir.File("m.gguf")).status();
  EXPECT_NE(status.message().find(dir.File("m.gguf")), absl::string_view::npos)
      << "the message names the file";
  return status;
}

// Opens a directory of which one JSON file was changed.
absl::Status HfError(const std::string& file, const std::function<void(Json&)>& change,
                     const TinyModel& model = MakeTinyModel()) {
  const TempDir dir;
  support::WriteHfDirectory(model, dir.path());
  Json json = Json::parse(ReadBytes(dir.File(file)));
  change(json);
  WriteBytes(dir.File(file), json.dump());
  return OpenModel(dir.path()).status();
}

absl::Status ConfigError(const std::string& key, const Json& value,
                         const TinyModel& model = MakeTinyModel()) {
  return HfError(
      "config.json", [&](Json& json) { json[key] = value; }, model);
}

TEST(WrongModel, MissingTensor) {
  TinyModel model = MakeTinyModel();
  std::erase_if(model.tensors, [](const auto& t) { return t.name == "blk.1.ffn_up.weight"; });
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "blk.1.ffn_up.weight"));
}

TEST(WrongModel, MissingEmbedding) {
  TinyModel model = MakeTinyModel();
  std::erase_if(model.tensors, [](const auto& t) { return t.name == "token_embd.weight"; });
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "token_embd.weight"));
}

TEST(WrongModel, WrongShapes) {
  for (const char* name : {"blk.0.attn_q.weight", "blk.1.ffn_down.weight", "output_norm.weight"}) {
    TinyModel model = MakeTinyModel();
    model.tensor(name).shape.back() /= 2;
    model.tensor(name).data.resize(model.tensor(name).data.size() / 2);
    EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", name));
  }
}

TEST(WrongModel, TransposedAndThreeDimensional) {
  TinyModel model = MakeTinyModel();
  model.tensor("blk.0.ffn_up.weight").shape = {128, 256};
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "[128, 256]"));
  model = MakeTinyModel();
  model.tensor("blk.0.ffn_up.weight").shape = {2, 128, 128};
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "[2, 128, 128]"));
}

TEST(WrongModel, TensorThatTheForwardPassWouldIgnore) {
  TinyModel model = MakeTinyModel();
  model.tensors.push_back(model.tensor("blk.0.ffn_norm.weight"));
  model.tensors.back().name = "blk.0.post_ffw_norm.weight";
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_ARCHITECTURE_UNSUPPORTED", "post_ffw_norm"));
}

TEST(WrongModel, SizesThatContradict) {
  for (const auto& change : std::vector<std::function<void(support::TinyModelOptions&)>>{
           [](auto& o) { o.layers = 3; }, [](auto& o) { o.heads = 8; },
           [](auto& o) { o.kv_heads = 3; }, [](auto& o) { o.head_dim = 31; },
           [](auto& o) { o.layers = 0; }, [](auto& o) { o.heads = 0; },
           [](auto& o) { o.hidden = 64; }, [](auto& o) { o.context_tokens = 0; },
           [](auto& o) { o.rope_base = -1.0; }}) {
    TinyModel model = MakeTinyModel();
    change(model.options);
    EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID"));
  }
}

TEST(WrongModel, TokensOutsideTheVocabulary) {
  TinyModel model = MakeTinyModel();
  model.eos_tokens = {320};
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "eos"));
  model = MakeTinyModel();
  model.tokenizer.bos_token = 5000;
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "bos"));
  model = MakeTinyModel();
  model.tokenizer.unknown_token = 320;
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "unknown_token"));
  model = MakeTinyModel();
  model.tokenizer.tokens.push_back("one too many");
  model.tokenizer.kinds.push_back(TokenKind::kNormal);
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "321 tokens"));
  model.tokenizer.tokens.pop_back();
  EXPECT_TRUE(Fails(GgufError(model), "MODEL_CONFIG_INVALID", "token_type"));
}

// A GGUF file of metadata only, for what is refused before tensors are looked at.
absl::Status MetadataError(const std::function<void(support::GgufWriter&)>& fill) {
  support::GgufWriter writer;
  fill(writer);
  const TempDir dir;
  WriteBytes(dir.File("m.gguf"), writer.Finish());
  return OpenModel(dir.File("m.gguf")).status();
}

TEST(WrongModel, UnsupportedGguf) {
  EXPECT_TRUE(Fails(MetadataError([](auto&) {}), "MODEL_CONFIG_INVALID", "general.architecture"));
  EXPECT_TRUE(Fails(MetadataError([](auto& w) { w.AddString("general.architecture", "mamba"); }),
                    "MODEL_ARCHITECTURE_UNSUPPORTED", "mamba"));
  EXPECT_TRUE(Fails(MetadataError([](auto& w) {
                      w.AddString("general.architecture", "llama");
                      w.AddU32("split.count", 3);
                    }),
                    "MODEL_ARCHITECTURE_UNSUPPORTED", "split"));
  EXPECT_TRUE(Fails(MetadataError([](auto& w) { w.AddString("general.architecture", "llama"); }),
                    "MODEL_CONFIG_INVALID", "llama.block_count"));
}

TEST(WrongModel, UnsupportedArchitectureOfADirectory) {
  EXPECT_TRUE(Fails(ConfigError("architectures", {"GemmaForCausalLM"}),
                    "MODEL_ARCHITECTURE_UNSUPPORTED", "GemmaForCausalLM"));
  EXPECT_TRUE(Fails(ConfigError("architectures", Json()), "MODEL_CONFIG_INVALID"));
}

TEST(WrongModel, UnsupportedVariantsAreNamed) {
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
  const Json dynamic = {{"type", "dynamic"}, {"factor", 4.0}};
  const std::string unsupported = "MODEL_ARCHITECTURE_UNSUPPORTED";
  EXPECT_TRUE(Fails(ConfigError("rope_scaling", yarn), unsupported, "yarn"));
  EXPECT_TRUE(Fails(ConfigError("rope_scaling", dynamic), unsupported, "dynamic"));
  EXPECT_TRUE(Fails(ConfigError("hidden_act", "gelu"), unsupported, "gelu"));
  EXPECT_TRUE(Fails(ConfigError("mlp_bias", true), unsupported, "mlp_bias"));
  EXPECT_TRUE(Fails(ConfigError("partial_rotary_factor", 0.5), unsupported, "partial_rotary"));
  EXPECT_TRUE(Fails(ConfigError("quantization_config", {{"quant_method", "gptq"}}),
                    "QUANTIZATION_UNSUPPORTED", "gptq"));
}

TEST(WrongModel, QwenWindowOnSomeLayersOnly) {
  const TinyModel model =
      MakeTinyModel({.architecture = Architecture::kQwen2, .sliding_window = 64});
  EXPECT_TRUE(Fails(ConfigError("max_window_layers", 1, model), "MODEL_ARCHITECTURE_UNSUPPORTED",
                    "max_window_layers"));
  EXPECT_TRUE(ConfigError("max_window_layers", 2, model).ok());
  EXPECT_TRUE(ConfigError("use_sliding_window", false, model).ok());
}

TEST(WrongModel, ConfigValuesOfTheWrongKind) {
  EXPECT_TRUE(Fails(ConfigError("hidden_size", "many"), "MODEL_CONFIG_INVALID", "hidden_size"));
  EXPECT_TRUE(Fails(ConfigError("hidden_size", 1e300), "MODEL_CONFIG_INVALID", "hidden_size"));
  EXPECT_TRUE(Fails(ConfigError("hidden_size", -1), "MODEL_CONFIG_INVALID", "hidden_size"));
  EXPECT_TRUE(Fails(ConfigError("num_hidden_layers", 1u << 31), "MODEL_CONFIG_INVALID"));
  EXPECT_TRUE(Fails(ConfigError("num_attention_heads", 0), "MODEL_CONFIG_INVALID"));
  EXPECT_TRUE(Fails(ConfigError("rope_theta", 0.5), "MODEL_CONFIG_INVALID", "rope_theta"));
  EXPECT_TRUE(Fails(ConfigError("eos_token_id", "x"), "MODEL_CONFIG_INVALID", "eos_token_id"));
  EXPECT_TRUE(Fails(ConfigError("eos_token_id", {2, -3}), "MODEL_CONFIG_INVALID", "eos_token_id"));
  EXPECT_TRUE(Fails(ConfigError("rope_scaling", 3), "MODEL_CONFIG_INVALID", "rope_scaling"));
}

TEST(WrongModel, IndexThatLies) {
  const auto index_error = [](const std::function<void(Json&)>& change) {
    const TempDir dir;
    support::WriteHfDirectory(MakeTinyModel(), dir.path(), {.max_shard_tensors = 6});
    const std::string path = dir.File("model.safetensors.index.json");
    Json json = Json::parse(ReadBytes(path));
    change(json["weight_map"]);
    WriteBytes(path, json.dump());
    return OpenModel(dir.path()).status();
  };
  EXPECT_TRUE(index_error([](Json&) {}).ok());
  for (const char* file : {"../elsewhere", "/etc/passwd", "", "..", "a/b"}) {
    EXPECT_TRUE(Fails(index_error([&](Json& map) { map["model.norm.weight"] = file; }),
                      "MODEL_FILE_CORRUPT", "plain file name"));
  }
  EXPECT_TRUE(Fails(index_error([](Json& map) { map["extra"] = map["model.norm.weight"]; }),
                    "MODEL_FILE_CORRUPT", "lacks"));
  EXPECT_TRUE(Fails(index_error([](Json& map) { map = Json::array(); }), "MODEL_FILE_CORRUPT"));
  EXPECT_TRUE(Fails(index_error([](Json& map) { map.erase("model.norm.weight"); }),
                    "MODEL_CONFIG_INVALID", "output_norm.weight"));
  EXPECT_EQ(index_error([](Json& map) { map["model.norm.weight"] = "absent"; }).code(),
            absl::StatusCode::kNotFound);
}

TEST(WrongModel, FilesThatAreNotThere) {
  const TempDir dir;
  EXPECT_EQ(OpenModel(dir.File("absent.gguf")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(OpenModel(dir.path()).status().code(), absl::StatusCode::kNotFound);
  for (const char* file : {"config.json", "tokenizer.json", "model.safetensors"}) {
    const TempDir hf;
    support::WriteHfDirectory(MakeTinyModel(), hf.path());
    std::filesystem::remove(hf.File(file));
    const absl::Status status = OpenModel(hf.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_NE(status.message().find(file), absl::string_view::npos) << status;
  }
  WriteBytes(dir.File("empty.gguf"), "");
  EXPECT_TRUE(Fails(OpenModel(dir.File("empty.gguf")).status(), "MODEL_FILE_TRUNCATED"));
}

}  // namespace
}  // namespace kvpareto
