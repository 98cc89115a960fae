// tokenizer.json, component by component: what is understood, and what is refused by name.
#include "engine/model/hf_tokenizer.h"

#include <functional>

#include "gtest/gtest.h"
#include "tests/model/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto {
namespace {

using PreTokenizer = TokenizerSpec::PreTokenizer;

// The tokenizer.json of a tiny model.
Json TokenizerJson(bool sentencepiece = false, PreTokenizer pre = PreTokenizer::kSmolLm) {
  const support::TempDir dir;
  support::WriteHfDirectory(
      support::MakeTinyModel(
          {.layers = 1, .hidden = 16, .sentencepiece = sentencepiece, .pre_tokenizer = pre}),
      dir.path());
  return Json::parse(support::ReadBytes(dir.File("tokenizer.json")));
}

absl::StatusOr<TokenizerSpec> Read(const Json& json, const Json& settings = {}) {
  return ReadHfTokenizer(json, settings, support::kTinyVocab);
}

absl::Status ErrorAfter(const std::function<void(Json&)>& change, bool sentencepiece = false) {
  Json json = TokenizerJson(sentencepiece);
  change(json);
  return Read(json).status();
}

TEST(HfTokenizer, PreTokenizersAreRecognised) {
  for (PreTokenizer pre :
       {PreTokenizer::kGpt2, PreTokenizer::kSmolLm, PreTokenizer::kQwen2, PreTokenizer::kLlama3}) {
    const auto spec = Read(TokenizerJson(false, pre));
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->pre_tokenizer, pre);
    EXPECT_EQ(spec->model, TokenizerSpec::Model::kByteLevelBpe);
    EXPECT_EQ(spec->normalize_nfc, pre == PreTokenizer::kQwen2);
  }
}

TEST(HfTokenizer, UnknownComponentsAreNamed) {
  const std::string unsupported = "TOKENIZER_UNSUPPORTED";
  EXPECT_TRUE(
      Fails(ErrorAfter([](Json& j) { j["model"]["type"] = "Unigram"; }), unsupported, "Unigram"));
  EXPECT_TRUE(
      Fails(ErrorAfter([](Json& j) { j["model"]["dropout"] = 0.1; }), unsupported, "dropout"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; }),
                    unsupported, "##"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) {
                      j["normalizer"] = {{"type", "Lowercase"}};
                    }),
                    unsupported, "Lowercase"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) {
                      j["pre_tokenizer"] = {{"type", "Whitespace"}};
                    }),
                    unsupported, "Whitespace"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["pre_tokenizer"] = nullptr; }), unsupported,
                    "pre_tokenizer"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["decoder"]["type"] = "WordPiece"; }), unsupported,
                    "WordPiece"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) {
                      j["post_processor"] = {{"type", "Bert"}};
                    }),
                    unsupported, "Bert"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["added_tokens"][1]["lstrip"] = true; }), unsupported,
                    "lstrip \"<|im_start|>\""));
}

// A regular expression that differs in one character would cut text elsewhere.
TEST(HfTokenizer, SplitRegexMustMatchExactly) {
  Json json = TokenizerJson(false, PreTokenizer::kQwen2);
  json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = R"(\s+)";
  EXPECT_TRUE(Fails(Read(json).status(), "TOKENIZER_UNSUPPORTED", "Regex"));
  json = TokenizerJson(false, PreTokenizer::kQwen2);
  json["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed";
  EXPECT_TRUE(Fails(Read(json).status(), "TOKENIZER_UNSUPPORTED"));
  json = TokenizerJson();
  json["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true;
  EXPECT_TRUE(Fails(Read(json).status(), "TOKENIZER_UNSUPPORTED"));
}

TEST(HfTokenizer, MergesInBothSpellings) {
  Json json = TokenizerJson();
  json["model"]["merges"] = {"a b", {"c", "d e"}};
  EXPECT_EQ(Read(json)->merges,
            (std::vector<std::pair<std::string, std::string>>{{"a", "b"}, {"c", "d e"}}));
  for (const Json& wrong : {Json("ab"), Json("a b c"), Json(" b"), Json("a "), Json(7), Json({"a"}),
                            Json({"a", 1}), Json({"a", "b", "c"})}) {
    json["model"]["merges"] = Json::array({wrong});
    EXPECT_TRUE(Fails(Read(json).status(), "MODEL_CONFIG_INVALID", "merge 0")) << wrong;
  }
}

TEST(HfTokenizer, IdsOutsideTheVocabularyOrTwice) {
  const std::string invalid = "MODEL_CONFIG_INVALID";
  EXPECT_TRUE(
      Fails(ErrorAfter([](Json& j) { j["model"]["vocab"]["x"] = 320u; }), invalid, "\"x\""));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["model"]["vocab"]["x"] = -1; }), invalid));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["model"]["vocab"]["x"] = 1e18; }), invalid));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["model"]["vocab"]["xx"] = 5u; }), invalid, "id 5"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["added_tokens"][0]["id"] = 9u; }), invalid, "id 9"));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["added_tokens"][0].erase("id"); }), invalid));
  EXPECT_TRUE(Fails(ErrorAfter([](Json& j) { j["model"]["vocab"] = Json::array(); }), invalid));
}

TEST(HfTokenizer, HolesInTheVocabularyAreUnused) {
  Json json = TokenizerJson();
  json["model"]["vocab"]["far"] = 319u;
  const auto spec = Read(json);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->tokens.size(), 320u);
  EXPECT_EQ(spec->kinds[319], TokenKind::kNormal);
  EXPECT_EQ(spec->kinds[318], TokenKind::kUnused);
}

TEST(HfTokenizer, FirstTokenComesFromPostProcessorOrSettings) {
  Json json = TokenizerJson();
  EXPECT_FALSE(Read(json)->add_bos);
  const Json sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json special = {{"SpecialToken", {{"id", "<|im_start|>"}, {"type_id", 0}}}};
  const Json processor = {{"type", "TemplateProcessing"},
                          {"single", Json::array({special, sequence})}};
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors", Json::array({{{"type", "ByteLevel"}}, processor})}};
  EXPECT_TRUE(Read(json)->add_bos);
  EXPECT_EQ(Read(json)->bos_token, support::kImStart);
  EXPECT_FALSE(Read(json, {{"add_bos_token", false}})->add_bos);
  json["post_processor"] = processor;
  json["post_processor"]["single"] = Json::array({sequence, special});
  EXPECT_TRUE(Fails(Read(json).status(), "TOKENIZER_UNSUPPORTED", "post_processor"));
  EXPECT_TRUE(Fails(Read(TokenizerJson(), {{"add_eos_token", true}}).status(),
                    "TOKENIZER_UNSUPPORTED", "add_eos_token"));
}

TEST(HfTokenizer, SpecialTokensOfTheSettingsAreTextOrObject) {
  EXPECT_EQ(Read(TokenizerJson(), {{"bos_token", "<|im_end|>"}})->bos_token, support::kImEnd);
  EXPECT_EQ(Read(TokenizerJson(), {{"bos_token", {{"content", "<|im_end|>"}}}})->bos_token,
            support::kImEnd);
  EXPECT_EQ(Read(TokenizerJson(), {{"bos_token", "absent"}})->bos_token, -1);
}

TEST(HfTokenizer, SentencePieceInBothSpellings) {
  Json json = TokenizerJson(/*sentencepiece=*/true);
  auto spec = Read(json);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, TokenizerSpec::Model::kSentencePieceBpe);
  EXPECT_TRUE(spec->add_space_prefix && spec->byte_fallback);
  EXPECT_FALSE(spec->space_prefix_first_only || spec->space_prefix_not_doubled);
  EXPECT_EQ(spec->kinds[support::kFirstByte], TokenKind::kByte);
  EXPECT_EQ(spec->unknown_token, support::kEndOfText);

  json["normalizer"] = nullptr;
  json["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", "first"}, {"split", false}};
  spec = Read(json);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->model, TokenizerSpec::Model::kSentencePieceBpe);
  EXPECT_TRUE(spec->add_space_prefix && spec->space_prefix_first_only &&
              spec->space_prefix_not_doubled);
  json["pre_tokenizer"]["prepend_scheme"] = "never";
  EXPECT_FALSE(Read(json)->add_space_prefix);
  json["pre_tokenizer"]["split"] = true;
  EXPECT_TRUE(Fails(Read(json).status(), "TOKENIZER_UNSUPPORTED", "Metaspace"));
}

TEST(HfChatTemplate, StringOrNamedList) {
  EXPECT_EQ(*ReadHfChatTemplate({{"chat_template", "{{ x }}"}}), "{{ x }}");
  EXPECT_EQ(*ReadHfChatTemplate(Json()), "");
  EXPECT_EQ(*ReadHfChatTemplate({{"chat_template", nullptr}}), "");
  const Json list = Json::array({{{"name", "tool_use"}, {"template", "tools"}},
                                 {{"name", "default"}, {"template", "plain"}}});
  EXPECT_EQ(*ReadHfChatTemplate({{"chat_template", list}}), "plain");
  EXPECT_TRUE(Fails(ReadHfChatTemplate({{"chat_template", 3}}).status(), "MODEL_CONFIG_INVALID"));
}

}  // namespace
}  // namespace kvpareto
