// Models written by tests/support and opened again: what comes out is what went in, in both
// formats.
#include <cstring>

#include "engine/model/model_source.h"
#include "engine/ops/dequantize.h"
#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto {
namespace {

using support::HfWriteOptions;
using support::MakeTinyModel;
using support::TempDir;
using support::TinyModel;
using support::TinyModelOptions;
using support::TinyTensor;

std::vector<float> Values(const TensorView& tensor) {
  std::vector<float> values;
  std::vector<float> row(tensor.cols());
  for (int64_t r = 0; r < tensor.rows(); ++r) {
    DequantizeRow(tensor.type, tensor.Row(r), row);
    values.insert(values.end(), row.begin(), row.end());
  }
  return values;
}

// A view of the tensor as the model was made, in the engine's row order.
TensorView Original(const TinyTensor& tensor) {
  return {.name = tensor.name,
          .type = tensor.type,
          .shape = tensor.shape,
          .data = tensor.data,
          .interleaved_head_dim = 0};
}

void ExpectSameTensors(const TinyModel& model, const ModelSource& source) {
  for (const TinyTensor& tensor : model.tensors) {
    const absl::StatusOr<TensorView> view = source.Tensor(tensor.name);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->shape, tensor.shape) << tensor.name;
    EXPECT_EQ(Values(*view), Values(Original(tensor))) << tensor.name;
  }
}

void ExpectConfig(const TinyModelOptions& options, const ModelConfig& config) {
  EXPECT_EQ(config.architecture, options.architecture);
  EXPECT_EQ(config.layers, options.layers);
  EXPECT_EQ(config.hidden, options.hidden);
  EXPECT_EQ(config.ffn, options.ffn);
  EXPECT_EQ(config.heads, options.heads);
  EXPECT_EQ(config.kv_heads, options.kv_heads);
  EXPECT_EQ(config.head_dim, options.head_dim);
  EXPECT_EQ(config.vocab, options.vocab);
  EXPECT_EQ(config.context_tokens, options.context_tokens);
  EXPECT_EQ(config.rms_epsilon, 1e-5f);
  EXPECT_EQ(config.sliding_window, options.sliding_window);
  EXPECT_EQ(config.qkv_bias, options.architecture == Architecture::kQwen2);
  EXPECT_EQ(config.qk_norm, options.architecture == Architecture::kQwen3);
  EXPECT_EQ(config.tied_head, options.tied);
  EXPECT_EQ(config.eos_tokens, (std::vector<int32_t>{support::kImEnd}));
  EXPECT_EQ(config.bos_token, support::kImStart);
}

// GGUF keeps the unused tail of the vocabulary, tokenizer.json does not.
void ExpectTokenizer(const TokenizerSpec& wanted, const TokenizerSpec& got) {
  EXPECT_EQ(got.model, wanted.model);
  EXPECT_EQ(got.normalize_nfc, wanted.normalize_nfc);
  EXPECT_EQ(got.add_bos, wanted.add_bos);
  EXPECT_EQ(got.add_space_prefix, wanted.add_space_prefix);
  EXPECT_EQ(got.ignore_merges, wanted.ignore_merges);
  EXPECT_EQ(got.byte_fallback, wanted.byte_fallback);
  EXPECT_EQ(got.bos_token, wanted.bos_token);
  EXPECT_EQ(got.unknown_token, wanted.unknown_token);
  if (wanted.model == TokenizerSpec::Model::kByteLevelBpe) {
    EXPECT_EQ(got.pre_tokenizer, wanted.pre_tokenizer);
    EXPECT_EQ(got.merges, wanted.merges);
  }
  for (size_t id = 0; id < wanted.tokens.size(); ++id) {
    if (wanted.kinds[id] == TokenKind::kUnused) continue;
    ASSERT_LT(id, got.tokens.size());
    EXPECT_EQ(got.tokens[id], wanted.tokens[id]);
    if (wanted.kinds[id] == TokenKind::kUnknown) continue;  // an added token in tokenizer.json
    EXPECT_EQ(got.kinds[id], wanted.kinds[id]) << id;
  }
}

struct Case {
  const char* name;
  TinyModelOptions options;
};
class BothFormats : public testing::TestWithParam<Case> {};

TEST_P(BothFormats, RoundTrip) {
  const TinyModel model = MakeTinyModel(GetParam().options);
  const TempDir dir;
  support::WriteGguf(model, dir.File("m.gguf"));
  support::WriteHfDirectory(model, dir.File("hf"));
  for (const char* path : {"m.gguf", "hf"}) {
    SCOPED_TRACE(path);
    const auto source = OpenModel(dir.File(path));
    ASSERT_TRUE(source.ok()) << source.status();
    ExpectConfig(GetParam().options, (*source)->config());
    ExpectTokenizer(model.tokenizer, (*source)->tokenizer());
    EXPECT_EQ((*source)->chat_template(), model.chat_template);
    ExpectSameTensors(model, **source);
    EXPECT_GT((*source)->file_bytes(), 100'000u);
    EXPECT_EQ((*source)->fingerprint().size(), 16u);
    (*source)->DropPages();  // the content comes back from the file
    ExpectSameTensors(model, **source);
  }
}

// RoPE frequencies agree between the formats although llama3 scaling is stored in different ways.
TEST_P(BothFormats, SameFrequencies) {
  const TinyModel model = MakeTinyModel(GetParam().options);
  const TempDir dir;
  support::WriteGguf(model, dir.File("m.gguf"));
  support::WriteHfDirectory(model, dir.File("hf"));
  const auto gguf = OpenModel(dir.File("m.gguf")), hf = OpenModel(dir.File("hf"));
  ASSERT_TRUE(gguf.ok() && hf.ok());
  const auto& a = (*gguf)->config().inverse_frequency;
  const auto& b = (*hf)->config().inverse_frequency;
  ASSERT_EQ(a.size(), b.size());
  // Each value is rounded to float at most three times on its way.
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 4 * 0x1p-24f * a[i]) << i;
}

INSTANTIATE_TEST_SUITE_P(
    Architectures, BothFormats,
    testing::Values(
        Case{"llama", {}}, Case{"untied", {.tied = false}},
        Case{"qwen2", {.architecture = Architecture::kQwen2, .tied = false}},
        Case{"qwen3", {.architecture = Architecture::kQwen3, .head_dim = 48}},
        Case{"mistral",
             {.architecture = Architecture::kMistral, .sliding_window = 64, .sentencepiece = true}},
        Case{"linear_rope", {.linear_rope_factor = 4.0}},
        Case{"llama3_rope", {.llama3_rope = Llama3RopeScaling{.original_context_tokens = 256}}},
        Case{"llama3_tokenizer", {.pre_tokenizer = TokenizerSpec::PreTokenizer::kLlama3}},
        Case{"gpt2_tokenizer", {.pre_tokenizer = TokenizerSpec::PreTokenizer::kGpt2}},
        Case{"one_head", {.layers = 1, .heads = 1, .kv_heads = 1, .head_dim = 256}}),
    [](const auto& info) { return info.param.name; });

class EveryType : public testing::TestWithParam<TensorType> {};

TEST_P(EveryType, RoundTripThroughGguf) {
  const TinyModel model =
      MakeTinyModel({.hidden = 256, .heads = 4, .head_dim = 64, .ffn = 512, .type = GetParam()});
  const TempDir dir;
  support::WriteGguf(model, dir.File("m.gguf"));
  const auto source = OpenModel(dir.File("m.gguf"));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->Tensor("blk.0.attn_q.weight")->type, GetParam());
  ExpectSameTensors(model, **source);
}

INSTANTIATE_TEST_SUITE_P(Types, EveryType,
                         testing::Values(TensorType::kF32, TensorType::kF16, TensorType::kBf16,
                                         TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0,
                                         TensorType::kQ5_1, TensorType::kQ8_0, TensorType::kQ4_K,
                                         TensorType::kQ5_K, TensorType::kQ6_K),
                         [](const auto& info) {
                           return std::string(GetTensorTypeInfo(info.param).name);
                         });

TEST(OpenModel, ShardsAreOneModel) {
  const TinyModel model = MakeTinyModel();
  const TempDir dir;
  support::WriteHfDirectory(model, dir.File("whole"));
  support::WriteHfDirectory(model, dir.File("sharded"),
                            {.max_shard_tensors = 6, .merges_as_pairs = true});
  const auto whole = OpenModel(dir.File("whole")), sharded = OpenModel(dir.File("sharded"));
  ASSERT_TRUE(whole.ok()) << whole.status();
  ASSERT_TRUE(sharded.ok()) << sharded.status();
  ExpectSameTensors(model, **sharded);
  EXPECT_EQ((*whole)->fingerprint(), (*sharded)->fingerprint());
  EXPECT_EQ((*sharded)->tokenizer().merges, model.tokenizer.merges);
}

TEST(OpenModel, HalfPrecisionDirectories) {
  const TinyModel model = MakeTinyModel({.type = TensorType::kBf16});
  const TempDir dir;
  support::WriteHfDirectory(model, dir.File("hf"), {.type = TensorType::kBf16});
  const auto source = OpenModel(dir.File("hf"));
  ASSERT_TRUE(source.ok()) << source.status();
  EXPECT_EQ((*source)->Tensor("output_norm.weight")->type, TensorType::kBf16);
  EXPECT_EQ(Values(*(*source)->Tensor("blk.1.ffn_up.weight")),
            Values(Original(const_cast<TinyModel&>(model).tensor("blk.1.ffn_up.weight"))));
}

TEST(OpenModel, QueryAndKeyRowsOfLlamaFilesAreInterleaved) {
  const TempDir dir;
  support::WriteGguf(MakeTinyModel(), dir.File("llama.gguf"));
  support::WriteGguf(MakeTinyModel({.architecture = Architecture::kQwen2}), dir.File("qwen.gguf"));
  const auto llama = OpenModel(dir.File("llama.gguf")), qwen = OpenModel(dir.File("qwen.gguf"));
  EXPECT_EQ((*llama)->Tensor("blk.0.attn_q.weight")->interleaved_head_dim, 32);
  EXPECT_EQ((*llama)->Tensor("blk.0.attn_k.weight")->interleaved_head_dim, 32);
  EXPECT_EQ((*llama)->Tensor("blk.0.attn_v.weight")->interleaved_head_dim, 0);
  EXPECT_EQ((*qwen)->Tensor("blk.0.attn_q.weight")->interleaved_head_dim, 0);
}

TEST(OpenModel, FingerprintFollowsWeightsAndConfigNotTokenizer) {
  const TempDir dir;
  const auto fingerprint = [&dir](const TinyModel& model) {
    support::WriteGguf(model, dir.File("m.gguf"));
    return (*OpenModel(dir.File("m.gguf")))->fingerprint();
  };
  const TinyModel model = MakeTinyModel();
  const std::string base = fingerprint(model);
  EXPECT_EQ(fingerprint(MakeTinyModel()), base);
  EXPECT_NE(fingerprint(MakeTinyModel({.seed = 2})), base);
  EXPECT_NE(fingerprint(MakeTinyModel({.rope_base = 20000.0})), base);
  TinyModel other = model;
  other.tensor("blk.1.ffn_down.weight").data.back() ^= std::byte{1};
  EXPECT_NE(fingerprint(other), base);
  other = model;
  other.tokenizer.tokens.back() = "renamed";
  other.chat_template.clear();
  EXPECT_EQ(fingerprint(other), base);
}

TEST(OpenModel, UnknownTensorNameIsNotFound) {
  const TempDir dir;
  support::WriteGguf(MakeTinyModel(), dir.File("m.gguf"));
  const auto source = OpenModel(dir.File("m.gguf"));
  EXPECT_FALSE((*source)->Has("output.weight"));
  EXPECT_TRUE((*source)->Has("token_embd.weight"));
  EXPECT_EQ((*source)->Tensor("output.weight").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace kvpareto
