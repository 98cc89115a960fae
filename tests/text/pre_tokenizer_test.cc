#include "engine/text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/text/nfc.h"

namespace kvpareto {
namespace {

using Kind = TokenizerSpec::PreTokenizer;
using Pieces = std::vector<std::string>;

Pieces Split(Kind kind, std::string_view text) {
  const auto pre_tokenizer = PreTokenizer::Create(kind);
  EXPECT_TRUE(pre_tokenizer.ok()) << pre_tokenizer.status();
  Pieces pieces;
  const absl::Status status =
      (*pre_tokenizer)->Split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  EXPECT_TRUE(status.ok()) << status;
  return pieces;
}

TEST(PreTokenizer, Gpt2) {
  EXPECT_EQ(Split(Kind::kGpt2, "I'm  here, 2024 it's"),
            (Pieces{"I", "'m", " ", " here", ",", " 2024", " it", "'s"}));
  EXPECT_EQ(Split(Kind::kGpt2, "a\n\n b  "), (Pieces{"a", "\n\n", " b", "  "}));
  EXPECT_EQ(Split(Kind::kGpt2, "I'M"), (Pieces{"I", "'", "M"}));
}

TEST(PreTokenizer, SmolLmCutsEveryDigit) {
  EXPECT_EQ(Split(Kind::kSmolLm, "a12 34"), (Pieces{"a", "1", "2", " ", "3", "4"}));
  // GPT-2's pattern keeps the last of several spaces for the next word; before a digit there is no
  // next word.
  EXPECT_EQ(Split(Kind::kSmolLm, "  1  a"), (Pieces{"  ", "1", " ", " a"}));
  EXPECT_EQ(Split(Kind::kSmolLm, "\u00bd\u0664"), (Pieces{"\u00bd", "\u0664"}));
}

TEST(PreTokenizer, Qwen2) {
  EXPECT_EQ(Split(Kind::kQwen2, "I'M 123 x.y\n\n  z"),
            (Pieces{"I", "'M", " ", "1", "2", "3", " x", ".y", "\n\n", " ", " z"}));
  EXPECT_EQ(Split(Kind::kQwen2, "end.\n\nNext"), (Pieces{"end", ".\n\n", "Next"}));
  EXPECT_EQ(Split(Kind::kQwen2, "  \n  a"), (Pieces{"  \n", " ", " a"}));
}

TEST(PreTokenizer, Llama3CutsNumbersByThree) {
  EXPECT_EQ(Split(Kind::kLlama3, "12345 6"), (Pieces{"123", "45", " ", "6"}));
}

TEST(PreTokenizer, WhiteSpaceIsUnicodes) {
  // U+3000 is white space; U+180E has not been since Unicode 6.3.
  EXPECT_EQ(Split(Kind::kGpt2, "a\u3000\u3000b"), (Pieces{"a", "\u3000", "\u3000", "b"}));
  EXPECT_EQ(Split(Kind::kGpt2, "!\u180e!"), (Pieces{"!\u180e!"}));
  EXPECT_EQ(Split(Kind::kGpt2, "!\x1c!"), (Pieces{"!\x1c!"}));
}

TEST(PreTokenizer, EveryByteIsInOnePiece) {
  using namespace std::string_literals;
  for (const Kind kind : {Kind::kGpt2, Kind::kSmolLm, Kind::kQwen2, Kind::kLlama3}) {
    for (const std::string& text :
         {""s, "\0"s, "a\0b \x7f\r\n\t"s, "\U0001F600\u200D\uFE0F"s, "\U0010FFFF\uFFFE"s}) {
      std::string joined;
      for (const std::string& piece : Split(kind, text)) joined += piece;
      EXPECT_EQ(joined, text);
    }
  }
}

TEST(Nfc, ComposesAndReorders) {
  EXPECT_EQ(*NormalizeNfc("plain"), "plain");
  EXPECT_EQ(*NormalizeNfc("e\u0301"), "\u00e9");
  EXPECT_EQ(*NormalizeNfc("a\u0308\u0323"), "\u1ea1\u0308");  // the lower mark composes first
  EXPECT_EQ(*NormalizeNfc("\u1100\u1161\u11a8"), "\uac01");   // Hangul
  EXPECT_EQ(*NormalizeNfc("\u212b"), "\u00c5");               // a singleton
  EXPECT_EQ(*NormalizeNfc("\u0958"), "\u0915\u093c");         // excluded from composition
  EXPECT_EQ(*NormalizeNfc("\ufb01"), "\ufb01");               // compatibility forms stay
}

}  // namespace
}  // namespace kvpareto
