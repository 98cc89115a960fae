#include "engine/text/tokenizer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "engine/text/byte_alphabet.h"
#include "engine/text/utf8.h"

namespace kvpareto {
namespace {

using Ids = std::vector<int32_t>;
using PreTokenizer = TokenizerSpec::PreTokenizer;

constexpr int32_t kEnd = 256;   // <|end|>
constexpr int32_t kTool = 257;  // <tool>, user-defined
constexpr int32_t kFirstMerge = 259;

// Ids 0..255 are the bytes; then <|end|>, <tool>, an unused entry; then one token per merge.
TokenizerSpec ByteLevelSpec(const std::vector<std::pair<std::string, std::string>>& merges,
                            PreTokenizer pre_tokenizer = PreTokenizer::kGpt2) {
  TokenizerSpec spec;
  spec.pre_tokenizer = pre_tokenizer;
  const auto add = [&spec](std::string text, TokenKind kind) {
    spec.tokens.push_back(std::move(text));
    spec.kinds.push_back(kind);
  };
  for (int byte = 0; byte < 256; ++byte) {
    add(std::string(ByteToAlphabet(static_cast<uint8_t>(byte))), TokenKind::kNormal);
  }
  add("<|end|>", TokenKind::kSpecial);
  add("<tool>", TokenKind::kUserDefined);
  add("[PAD0]", TokenKind::kUnused);
  for (const auto& [left, right] : merges) {
    add(left + right, TokenKind::kNormal);
    spec.merges.emplace_back(left, right);
  }
  return spec;
}

std::unique_ptr<Tokenizer> Make(const TokenizerSpec& spec) {
  auto tokenizer = Tokenizer::Create(spec);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

Ids Encode(const Tokenizer& tokenizer, std::string_view text,
           Tokenizer::EncodeOptions options = {}) {
  const auto ids = tokenizer.Encode(text, options);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.ok() ? *ids : Ids();
}

// The texts of the tokens, in readable form.
std::vector<std::string> Pieces(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> pieces;
  for (const int32_t id : Encode(tokenizer, text)) pieces.push_back(tokenizer.TokenBytes(id));
  return pieces;
}

std::string Reason(const absl::Status& status) {
  const auto info = GetErrorInfo(status);
  return info ? info->reason : "";
}

using Strings = std::vector<std::string>;

TEST(ByteAlphabet, IsGpt2s) {
  EXPECT_EQ(ByteToAlphabet(' '), "Ġ");
  EXPECT_EQ(ByteToAlphabet('\n'), "Ċ");
  EXPECT_EQ(ByteToAlphabet('A'), "A");
  EXPECT_EQ(ByteToAlphabet(0x00), "Ā");
  EXPECT_EQ(ByteToAlphabet(0xAD), "Ń");  // the last one that does not stand for itself
  EXPECT_EQ(ByteToAlphabet(0xFF), "ÿ");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(AlphabetToBytes(BytesToAlphabet(all)), all);
  EXPECT_EQ(AlphabetToBytes("a b"), std::nullopt);
}

TEST(ByteLevelBpe, MergesByRankThenFromTheLeft) {
  const auto tokenizer = Make(ByteLevelSpec({{"b", "c"}, {"a", "b"}, {"a", "a"}, {"aa", "aa"}}));
  EXPECT_EQ(Pieces(*tokenizer, "abc"), (Strings{"a", "bc"}));
  EXPECT_EQ(Pieces(*tokenizer, "ab"), (Strings{"ab"}));
  EXPECT_EQ(Pieces(*tokenizer, "aaa"), (Strings{"aa", "a"}));
  EXPECT_EQ(Pieces(*tokenizer, "aaaaaaa"), (Strings{"aaaa", "aa", "a"}));
  EXPECT_EQ(Encode(*tokenizer, "aa"), (Ids{kFirstMerge + 2}));
}

TEST(ByteLevelBpe, APairListedTwiceHasItsLastRank) {
  TokenizerSpec spec = ByteLevelSpec({{"a", "b"}, {"b", "c"}});
  spec.merges.emplace_back("a", "b");
  EXPECT_EQ(Pieces(*Make(spec), "abc"), (Strings{"a", "bc"}));
}

TEST(ByteLevelBpe, MergesNeverCrossPreTokens) {
  const auto tokenizer = Make(ByteLevelSpec({{"a", "!"}, {"Ġ", "a"}}));
  EXPECT_EQ(Pieces(*tokenizer, "a! a"), (Strings{"a", "!", " a"}));
}

TEST(ByteLevelBpe, SpecialTokensOnlyWhenAskedFor) {
  const auto tokenizer = Make(ByteLevelSpec({}));
  EXPECT_EQ(Encode(*tokenizer, "a<|end|>b", {.parse_special = true}), (Ids{'a', kEnd, 'b'}));
  EXPECT_EQ(Encode(*tokenizer, "<|end|>").size(), 7u);
  EXPECT_EQ(Encode(*tokenizer, "<|end|><|end|", {.parse_special = true}).size(), 7u);
  EXPECT_EQ(Encode(*tokenizer, "x<tool>"), (Ids{'x', kTool}));  // user-defined: always
  EXPECT_EQ(Encode(*tokenizer, "[PAD0]").size(), 6u);           // unused: never
}

TEST(ByteLevelBpe, TheLongestAddedTokenWins) {
  TokenizerSpec spec = ByteLevelSpec({});
  spec.tokens.push_back("<tool>s");
  spec.kinds.push_back(TokenKind::kUserDefined);
  const auto tokenizer = Make(spec);
  EXPECT_EQ(Encode(*tokenizer, "<tool>s<tool>"), (Ids{kFirstMerge, kTool}));
  EXPECT_EQ(Encode(*tokenizer, "<to<tool>"), (Ids{'<', 't', 'o', kTool}));
}

TEST(ByteLevelBpe, BeginningOfSequence) {
  TokenizerSpec spec = ByteLevelSpec({});
  spec.add_bos = true;
  spec.bos_token = kEnd;
  const auto tokenizer = Make(spec);
  EXPECT_TRUE(tokenizer->adds_bos());
  EXPECT_EQ(Encode(*tokenizer, "a", {.add_bos = true}), (Ids{kEnd, 'a'}));
  EXPECT_EQ(Encode(*tokenizer, "", {.add_bos = true}), (Ids{kEnd}));
  EXPECT_EQ(Encode(*tokenizer, "a"), (Ids{'a'}));
}

TEST(ByteLevelBpe, WholeWordsWithIgnoreMerges) {
  TokenizerSpec spec = ByteLevelSpec({{"a", "b"}}, PreTokenizer::kLlama3);
  spec.tokens.push_back("Ġabc");  // no merge leads here
  spec.kinds.push_back(TokenKind::kNormal);
  EXPECT_EQ(Pieces(*Make(spec), "ab abc"), (Strings{"ab", " ", "ab", "c"}));
  spec.ignore_merges = true;
  EXPECT_EQ(Pieces(*Make(spec), "ab abc"), (Strings{"ab", " abc"}));
}

TEST(ByteLevelBpe, NormalizesWhenTheModelDoes) {
  TokenizerSpec spec = ByteLevelSpec({}, PreTokenizer::kQwen2);
  EXPECT_EQ(Encode(*Make(spec), "e\u0301").size(), 3u);
  spec.normalize_nfc = true;
  EXPECT_EQ(Encode(*Make(spec), "e\u0301"), (Ids{0xC3, 0xA9}));
}

TEST(ByteLevelBpe, BytesWithoutATokenAreLeftOut) {
  TokenizerSpec spec = ByteLevelSpec({});
  spec.kinds['b'] = TokenKind::kUnused;
  EXPECT_EQ(Encode(*Make(spec), "abc"), (Ids{'a', 'c'}));
}

TEST(ByteLevelBpe, InvalidUtf8IsAnError) {
  const auto ids = Make(ByteLevelSpec({}))->Encode("a\xC3(", {});
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Reason(ids.status()), "INVALID_UTF8");
}

TEST(ByteLevelBpe, TextOfTokens) {
  const auto tokenizer = Make(ByteLevelSpec({{"Ġ", "a"}}));
  EXPECT_EQ(tokenizer->TokenBytes(kFirstMerge), " a");
  EXPECT_EQ(tokenizer->TokenText(kFirstMerge), "Ġa");
  EXPECT_EQ(tokenizer->FindToken("Ġa"), kFirstMerge);
  EXPECT_EQ(tokenizer->FindToken("[PAD0]"), -1);
  EXPECT_EQ(tokenizer->TokenBytes(kEnd), "");
  EXPECT_EQ(tokenizer->TokenBytes(kEnd, true), "<|end|>");
  EXPECT_EQ(tokenizer->TokenBytes(kTool), "<tool>");
  EXPECT_EQ(tokenizer->TokenBytes(kTool + 1), "");  // unused
  EXPECT_EQ(tokenizer->TokenBytes(-1), "");
  EXPECT_EQ(tokenizer->TokenBytes(1 << 20), "");
  EXPECT_EQ(tokenizer->TokenText(-1), "");
  EXPECT_TRUE(tokenizer->IsSpecial(kEnd));
  EXPECT_FALSE(tokenizer->IsSpecial(kTool));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
}

// Text that is one pre-token, of few distinct pieces, or normalizes badly. The bound is some
// hundred times what it takes, and a fraction of what 512 Ki steps squared would.
TEST(ByteLevelBpe, AdversarialTextIsNotQuadratic) {
  constexpr size_t kBytes = 1 << 19;
  constexpr auto kLimit = std::chrono::seconds(20);
  std::string marks, lines;
  while (marks.size() < kBytes) marks += "\u0301\u0316";  // out of canonical order throughout
  while (lines.size() < kBytes) lines += " \n";
  const std::string texts[] = {std::string(kBytes, 'a'),
                               std::string(kBytes, ' '),
                               std::string(kBytes, ' ') + "x",
                               std::string(kBytes, '1'),
                               std::string(kBytes, '!'),
                               std::string(kBytes, '\n'),
                               std::string(kBytes, '<'),
                               marks,
                               lines};
  for (const PreTokenizer pre_tokenizer :
       {PreTokenizer::kGpt2, PreTokenizer::kSmolLm, PreTokenizer::kQwen2, PreTokenizer::kLlama3}) {
    TokenizerSpec spec = ByteLevelSpec({{"a", "a"}, {"aa", "aa"}, {"Ġ", "Ġ"}}, pre_tokenizer);
    spec.normalize_nfc = pre_tokenizer == PreTokenizer::kQwen2;
    spec.ignore_merges = pre_tokenizer == PreTokenizer::kLlama3;
    const auto tokenizer = Make(spec);
    for (const std::string& text : texts) {
      const auto start = std::chrono::steady_clock::now();
      const Ids ids = Encode(*tokenizer, text, {.parse_special = true});
      EXPECT_LT(std::chrono::steady_clock::now() - start, kLimit) << text.substr(0, 4);
      if (!spec.normalize_nfc || text != marks) {
        EXPECT_EQ(tokenizer->Decode(ids), text);
      }
    }
  }
}

TEST(ByteLevelBpe, DecodeGivesBackAnyText) {
  std::mt19937 random(3);
  const auto tokenizer = Make(ByteLevelSpec({{"a", "b"}, {"Ġ", "a"}, {"Ã", "©"}}));
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t i = random() % 20; i > 0; --i) {
      char32_t c = random() % (random() % 2 ? 0x80 : 0x20000);
      if (c >= 0xD800 && c <= 0xDFFF) c = U'é';
      AppendUtf8(c, text);
    }
    EXPECT_EQ(tokenizer->Decode(Encode(*tokenizer, text)), text);
  }
}

TEST(TokenizerSpec, ContradictionsAreRefused) {
  const TokenizerSpec good = ByteLevelSpec({{"a", "b"}});
  std::vector<TokenizerSpec> bad(9, good);
  bad[0].tokens.clear();
  bad[1].kinds.pop_back();
  bad[2].scores = {1.0f};
  bad[3].tokens[5] = "\xFF";
  bad[4].bos_token = static_cast<int32_t>(good.tokens.size());
  bad[5].add_bos = true;
  bad[6].merges.emplace_back("a", "z");
  bad[7].merges.emplace_back("ab", "ab");
  bad[8].model = TokenizerSpec::Model::kSentencePieceBpe;
  bad[8].merges.clear();
  for (size_t i = 0; i < bad.size(); ++i) {
    const auto tokenizer = Tokenizer::Create(bad[i]);
    ASSERT_FALSE(tokenizer.ok()) << i;
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << i;
    EXPECT_EQ(Reason(tokenizer.status()), "TOKENIZER_INVALID") << i;
  }
}

}  // namespace
}  // namespace kvpareto
