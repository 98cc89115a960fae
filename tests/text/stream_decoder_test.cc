#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/text/byte_alphabet.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

namespace kvpareto {
namespace {

using namespace std::string_literals;

constexpr int32_t kSpecial = 256;

std::unique_ptr<Tokenizer> ByteTokens() {
  TokenizerSpec spec;
  for (int byte = 0; byte < 256; ++byte) {
    spec.tokens.emplace_back(ByteToAlphabet(static_cast<uint8_t>(byte)));
    spec.kinds.push_back(TokenKind::kNormal);
  }
  spec.tokens.emplace_back("<|end|>");
  spec.kinds.push_back(TokenKind::kSpecial);
  return *Tokenizer::Create(spec);
}

// Bytes as tokens, one piece " a", and the space prefix of SentencePiece.
std::unique_ptr<Tokenizer> SentencePieceTokens() {
  TokenizerSpec spec;
  spec.model = TokenizerSpec::Model::kSentencePieceBpe;
  spec.add_space_prefix = true;
  spec.byte_fallback = true;
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    spec.tokens.push_back("<0x"s + kHex[byte / 16] + kHex[byte % 16] + ">");
    spec.kinds.push_back(TokenKind::kByte);
  }
  spec.tokens.emplace_back("<s>");
  spec.kinds.push_back(TokenKind::kSpecial);
  spec.tokens.emplace_back("▁a");
  spec.kinds.push_back(TokenKind::kNormal);
  spec.scores.assign(spec.tokens.size(), 0.0f);
  return *Tokenizer::Create(spec);
}

TEST(StreamDecoder, EmitsWholeCharactersOnly) {
  const auto tokenizer = ByteTokens();
  StreamDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push(0xF0), "");
  EXPECT_EQ(decoder.Push(0x9F), "");
  EXPECT_EQ(decoder.Push(kSpecial), "");
  EXPECT_EQ(decoder.Push(0x98), "");
  EXPECT_EQ(decoder.Push(0x80), "\U0001F600");
  EXPECT_EQ(decoder.Push('a'), "a");
  EXPECT_EQ(decoder.Flush(), "");
}

TEST(StreamDecoder, ReplacesWhatCanNeverBecomeValid) {
  const auto tokenizer = ByteTokens();
  StreamDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push(0x80), std::string(kReplacementCharacter));
  EXPECT_EQ(decoder.Push(0xE2), "");
  EXPECT_EQ(decoder.Push('a'), std::string(kReplacementCharacter) + "a");
  EXPECT_EQ(decoder.Push(0xE2), "");
  EXPECT_EQ(decoder.Push(0x82), "");
  EXPECT_EQ(decoder.Flush(), std::string(kReplacementCharacter));
}

TEST(StreamDecoder, DropsTheFirstSpaceAsDecodeDoes) {
  const auto tokenizer = SentencePieceTokens();
  StreamDecoder decoder(tokenizer.get());
  EXPECT_EQ(decoder.Push(kSpecial), "");
  EXPECT_EQ(decoder.Push(kSpecial + 1), "a");
  EXPECT_EQ(decoder.Push(kSpecial + 1), " a");
}

TEST(StreamDecoder, EqualsDecodeMadeValid) {
  std::mt19937 random(11);
  for (const auto& tokenizer : {ByteTokens(), SentencePieceTokens()}) {
    for (int round = 0; round < 3000; ++round) {
      std::vector<int32_t> tokens;
      for (size_t i = random() % 12; i > 0; --i) {
        // Mostly bytes that begin, continue or almost continue characters.
        constexpr int32_t kTokens[] = {0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xED, 0xA0, 0xF0,
                                       0x9F, 0x98, 0x80, 0xF4, 0x90, ' ',  'a',  kSpecial};
        tokens.push_back(random() % 8 == 0
                             ? static_cast<int32_t>(random() % tokenizer->vocab_size())
                             : kTokens[random() % std::size(kTokens)]);
      }
      StreamDecoder decoder(tokenizer.get());
      std::string text;
      for (const int32_t token : tokens) {
        const std::string delta = decoder.Push(token);
        ASSERT_TRUE(IsValidUtf8(delta));
        text += delta;
      }
      text += decoder.Flush();
      ASSERT_EQ(text, MakeValidUtf8(tokenizer->Decode(tokens))) << testing::PrintToString(tokens);
    }
  }
}

}  // namespace
}  // namespace kvpareto
