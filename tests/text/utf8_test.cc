#include "engine/text/utf8.h"

#include <gtest/gtest.h>

#include <string>

#include "engine/text/tokenizer.h"

namespace kvpareto {
namespace {

using namespace std::string_literals;

TEST(Utf8, AcceptsTheBoundsOfEachLength) {
  for (const char32_t c : {U'\0', U'\x7F', U'\x80', U'\x7FF', U'\x800', U'\xD7FF', U'\xE000',
                           U'\xFFFF', U'\x10000', U'\x10FFFF'}) {
    std::string text;
    AppendUtf8(c, text);
    EXPECT_TRUE(IsValidUtf8(text)) << std::hex << static_cast<uint32_t>(c);
    const Utf8Step step = NextUtf8(text);
    EXPECT_EQ(step.kind, Utf8Step::Kind::kCharacter);
    EXPECT_EQ(step.code_point, c);
    EXPECT_EQ(step.bytes, text.size());
    EXPECT_EQ(Utf8LengthOfLead(text[0]), text.size());
  }
}

TEST(Utf8, RefusesWhatIsNotUtf8) {
  for (const std::string& text :
       {"\x80"s, "\xBF"s, "\xC0\x80"s, "\xC1\xBF"s, "\xE0\x9F\xBF"s, "\xED\xA0\x80"s,
        "\xF0\x8F\xBF\xBF"s, "\xF4\x90\x80\x80"s, "\xF5\x80\x80\x80"s, "\xFF"s, "\xC3"s,
        "\xE2\x82"s, "\xF0\x9F\x98"s, "a\xE2\x28\xA1"s}) {
    EXPECT_FALSE(IsValidUtf8(text)) << testing::PrintToString(text);
  }
}

// The table of Unicode 15, section 3.9 ("U+FFFD Substitution of Maximal Subparts").
TEST(Utf8, ReplacesMaximalSubparts) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(MakeValidUtf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a" + r + r + r + "b" + r + "c" + r + r + "d");
  EXPECT_EQ(MakeValidUtf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(MakeValidUtf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(MakeValidUtf8("\xE2\x82"), r);
}

}  // namespace
}  // namespace kvpareto
