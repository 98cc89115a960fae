#include "server/utf8.h"

#include <gtest/gtest.h>

namespace kvpareto::server {
namespace {

TEST(Utf8, AcceptsEveryLengthAndItsBorders) {
  for (const std::string text :
       {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "na\xc3\xafve \xf0\x9f\x98\x80"}) {
    EXPECT_EQ(ValidUtf8Prefix(text), text.size()) << text;
    EXPECT_EQ(ReplaceInvalidUtf8(text), text);
  }
}

TEST(Utf8, StopsAtWhatIsNoCharacter) {
  // Stray continuation, overlong, surrogate, above U+10FFFF, cut off, bad second byte.
  for (const std::string bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
                                "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
                                "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xe2(\xa1"}) {
    EXPECT_EQ(ValidUtf8Prefix("ok" + bad), 2u);
    const std::string repaired = ReplaceInvalidUtf8("ok" + bad + "!");
    EXPECT_EQ(ValidUtf8Prefix(repaired), repaired.size());
    EXPECT_EQ(repaired.front(), 'o');
    EXPECT_EQ(repaired.back(), '!');
  }
  EXPECT_EQ(ReplaceInvalidUtf8("a\xff"
                               "b"),
            "a\xEF\xBF\xBD"
            "b");
}

TEST(Utf8, TruncatesBetweenCharacters) {
  const std::string euro = "\xe2\x82\xac";
  EXPECT_EQ(TruncateUtf8(euro + euro, 6), euro + euro);
  EXPECT_EQ(TruncateUtf8(euro + euro, 5), euro);
  EXPECT_EQ(TruncateUtf8(euro + euro, 3), euro);
  EXPECT_EQ(TruncateUtf8(euro, 2), "");
}

}  // namespace
}  // namespace kvpareto::server
