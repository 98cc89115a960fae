#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"

namespace kvpareto {
namespace {

using Ids = std::vector<int32_t>;

constexpr int32_t kUnknown = 0, kBos = 1, kFirstByte = 3;

// <unk>, <s>, </s>, the bytes, then `pieces`, the earlier the better.
TokenizerSpec Spec(const std::vector<std::string>& pieces) {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::kSentencePieceBpe;
  spec.add_space_prefix = true;
  spec.byte_fallback = true;
  spec.add_bos = true;
  spec.bos_token = kBos;
  spec.unknown_token = kUnknown;
  spec.tokens = {"<unk>", "<s>", "</s>"};
  spec.kinds = {TokenKind::kUnknown, TokenKind::kSpecial, TokenKind::kSpecial};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    spec.tokens.push_back(text);
    spec.kinds.push_back(TokenKind::kByte);
  }
  spec.scores.assign(spec.tokens.size(), 0.0f);
  for (const std::string& piece : pieces) {
    spec.tokens.push_back(piece);
    spec.kinds.push_back(TokenKind::kNormal);
    spec.scores.push_back(-static_cast<float>(spec.scores.size()));
  }
  return spec;
}

std::unique_ptr<Tokenizer> Make(const TokenizerSpec& spec) {
  auto tokenizer = Tokenizer::Create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::vector<std::string> Pieces(const Tokenizer& tokenizer, std::string_view text,
                                bool parse_special = false) {
  const auto ids = tokenizer.Encode(text, {.parse_special = parse_special});
  EXPECT_TRUE(ids.ok()) << ids.status();
  std::vector<std::string> pieces;
  for (const int32_t id : *ids) pieces.emplace_back(tokenizer.TokenText(id));
  return pieces;
}

using Strings = std::vector<std::string>;

TEST(SentencePieceBpe, MergesByScore) {
  const auto tokenizer = Make(Spec({"bc", "ab", "▁a", "▁", "a", "b", "c"}));
  EXPECT_EQ(Pieces(*tokenizer, "abc"), (Strings{"▁a", "bc"}));
  EXPECT_EQ(Pieces(*tokenizer, "ab"), (Strings{"▁", "ab"}));
}

TEST(SentencePieceBpe, MergesByRankWhenThereAreMerges) {
  TokenizerSpec spec = Spec({"bc", "ab", "▁", "a", "b", "c"});
  spec.merges = {{"a", "b"}, {"b", "c"}};
  EXPECT_EQ(Pieces(*Make(spec), "abc"), (Strings{"▁", "ab", "c"}));
}

TEST(SentencePieceBpe, APieceMayBeReachedThroughCharactersThatAreNone) {
  EXPECT_EQ(Pieces(*Make(Spec({"xy", "▁"})), "xy"), (Strings{"▁", "xy"}));
}

TEST(SentencePieceBpe, BytesOfWhatIsNotInTheVocabulary) {
  const auto tokenizer = Make(Spec({"▁", "a"}));
  EXPECT_EQ(Pieces(*tokenizer, "aé"), (Strings{"▁", "a", "<0xC3>", "<0xA9>"}));
  const auto ids = tokenizer->Encode("aé", {});
  EXPECT_EQ(tokenizer->Decode(*ids), "aé");
  EXPECT_EQ(tokenizer->TokenBytes(kFirstByte + 0xC3), "\xC3");
}

TEST(SentencePieceBpe, ARunOfUnknownCharactersIsOneToken) {
  TokenizerSpec spec = Spec({"▁", "a"});
  spec.byte_fallback = false;
  EXPECT_EQ(Pieces(*Make(spec), "éèaé"), (Strings{"▁", "<unk>", "a", "<unk>"}));
}

TEST(SentencePieceBpe, AMissingByteTokenMakesTheCharacterUnknown) {
  TokenizerSpec spec = Spec({"▁"});
  spec.kinds[kFirstByte + 0xA9] = TokenKind::kUnused;
  EXPECT_EQ(Pieces(*Make(spec), "éb"), (Strings{"▁", "<unk>", "<0x62>"}));
}

TEST(SentencePieceBpe, SomethingMustStandForEveryText) {
  TokenizerSpec spec = Spec({"▁"});
  spec.unknown_token = -1;
  EXPECT_TRUE(Tokenizer::Create(spec).ok());
  spec.byte_fallback = false;
  EXPECT_FALSE(Tokenizer::Create(spec).ok());
}

TEST(SentencePieceBpe, SpacePrefix) {
  TokenizerSpec spec = Spec({"▁", "a"});
  EXPECT_EQ(Pieces(*Make(spec), " a</s>a", true), (Strings{"▁", "▁", "a", "</s>", "▁", "a"}));
  EXPECT_EQ(Pieces(*Make(spec), ""), Strings{});
  spec.space_prefix_first_only = true;
  EXPECT_EQ(Pieces(*Make(spec), " a</s>a", true), (Strings{"▁", "▁", "a", "</s>", "a"}));
  spec.space_prefix_not_doubled = true;
  EXPECT_EQ(Pieces(*Make(spec), " a</s>a", true), (Strings{"▁", "a", "</s>", "a"}));
  EXPECT_EQ(Pieces(*Make(spec), "</s>a", true), (Strings{"</s>", "a"}));
  spec.add_space_prefix = false;
  EXPECT_EQ(Pieces(*Make(spec), "a a"), (Strings{"a", "▁", "a"}));
}

TEST(SentencePieceBpe, DecodeDropsTheSpaceThatEncodePutFirst) {
  const TokenizerSpec spec = Spec({"▁a", "▁", "a"});
  const auto tokenizer = Make(spec);
  for (const std::string text : {"a", " a", "a a", "", "  "}) {
    const auto ids = tokenizer->Encode(text, {.add_bos = true});
    EXPECT_EQ(ids->front(), kBos);
    EXPECT_EQ(tokenizer->Decode(*ids), text);
  }
  const int32_t space_a = tokenizer->FindToken("▁a");
  EXPECT_EQ(tokenizer->Decode(Ids{space_a, space_a}), "a a");
  EXPECT_EQ(tokenizer->Decode(Ids{kBos, space_a}, true), "<s> a");
  EXPECT_EQ(tokenizer->TokenBytes(space_a), " a");
}

TEST(SentencePieceBpe, AdversarialTextIsNotQuadratic) {
  const auto tokenizer = Make(Spec({"aaaa", "aa", "▁▁", "▁", "a"}));
  for (const char c : {'a', ' ', 'x'}) {
    const std::string text(1 << 19, c);
    const auto start = std::chrono::steady_clock::now();
    const auto ids = tokenizer->Encode(text, {});
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
    ASSERT_TRUE(ids.ok());
    EXPECT_EQ(tokenizer->Decode(*ids), text);
  }
}

}  // namespace
}  // namespace kvpareto
