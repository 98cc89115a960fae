#include "autotuner/text_file.h"

#include <fstream>

#include "gmock/gmock.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

TEST(JoinLinesTest, KeepsParagraphs) {
  EXPECT_EQ(JoinLines("one\ntwo\n\nthree\nfour"), "one two\n\nthree four");
  EXPECT_EQ(JoinLines("a\n\n\nb\n"), "a\n\n\nb ");
  EXPECT_EQ(JoinLines("\na"), " a");
  EXPECT_EQ(JoinLines(""), "");
}

TEST(IsCodeTest, GoesByTheEnding) {
  EXPECT_TRUE(IsCode("a/b.py"));
  EXPECT_TRUE(IsCode("x.cc"));
  EXPECT_FALSE(IsCode("novel.txt"));
  EXPECT_FALSE(IsCode("python"));
}

class LoadTextTest : public TinyEngineTest {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_.File(name)) << content;
    return folder_.File(name);
  }
  std::string TextOf(const TokenizedText& text) { return engine_->Detokenize(text.tokens); }
};

TEST_F(LoadTextTest, SkipsBytesOfTheJoinedText) {
  const std::string path = Write("a.txt", "first\r\nline " + Prose(400));
  const auto text = LoadText(*engine_, path, 6, 50);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->name, "a.txt");
  EXPECT_EQ(text->tokens.size(), 50);
  EXPECT_THAT(TextOf(*text), testing::HasSubstr("line Sentence 0 of"));
  EXPECT_THAT(TextOf(*text), testing::Not(testing::HasSubstr("first")));
}

TEST_F(LoadTextTest, LeavesCodeAsItIs) {
  const std::string path = Write("a.py", "def f():\n  return 1\n" + Prose(400));
  const auto text = LoadText(*engine_, path, 0, 40);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(TextOf(*text), testing::HasSubstr("def f():\n  return 1\n"));
}

TEST_F(LoadTextTest, BeginsWithAWholeCharacter) {
  const std::string path = Write("a.txt", "\xc3\xa9\xc3\xa9 " + Prose(400));
  for (const int64_t skip : {1, 2, 3}) {
    const auto text = LoadText(*engine_, path, skip, 50);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_THAT(TextOf(*text), testing::HasSubstr(skip < 3 ? "\xc3\xa9 Sentence" : " Sentence"));
  }
}

TEST_F(LoadTextTest, SaysWhenThereIsTooLittle) {
  const std::string path = Write("a.txt", "short");
  EXPECT_EQ(GetErrorInfo(LoadText(*engine_, path, 0, 500).status())->reason, "TEXT_TOO_SHORT");
  EXPECT_EQ(GetErrorInfo(LoadText(*engine_, folder_.File("none"), 0, 5).status())->reason,
            "FILE_NOT_READABLE");
}

}  // namespace
}  // namespace kvpareto::tune
