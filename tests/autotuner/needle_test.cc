#include "autotuner/needle.h"

#include <set>

#include "gmock/gmock.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

using testing::HasSubstr;

class NeedleTest : public TinyEngineTest {
 protected:
  std::string Text(const NeedleQuestion& question, int64_t begin, int64_t end) {
    return engine_->Detokenize(std::span(question.tokens).subspan(begin, end - begin));
  }
  NeedleOptions options_{.documents = 2, .keys = 3, .tokens = 400};
};

TEST_F(NeedleTest, EveryAnswerStandsInItsDocumentOnce) {
  const auto questions = MakeNeedles(*engine_, Prose(20000), options_);
  ASSERT_TRUE(questions.ok()) << questions.status();
  ASSERT_EQ(questions->size(), 6);
  std::set<std::string> answers, documents;
  for (const NeedleQuestion& question : *questions) {
    const std::string document = Text(question, 0, question.question_begin);
    const std::string asked = Text(question, question.question_begin, question.answer_begin);
    const std::string answer = Text(question, question.answer_begin, std::ssize(question.tokens));
    EXPECT_EQ(answer.size(), 7);
    EXPECT_THAT(document, HasSubstr(" is: " + answer + ". "));
    const size_t key = document.rfind("numbers for ", document.find(answer)) + 12;
    const std::string name = document.substr(key, document.find(' ', key) - key);
    EXPECT_THAT(asked, HasSubstr("magic number for " + name + " mentioned"));
    EXPECT_THAT(asked, testing::EndsWith("is: "));
    answers.insert(answer);
    documents.insert(document);
  }
  EXPECT_EQ(answers.size(), 6);
  EXPECT_EQ(documents.size(), 2);
}

TEST_F(NeedleTest, TheSameSeedMakesTheSameQuestions) {
  const auto a = MakeNeedles(*engine_, Prose(20000), options_);
  const auto b = MakeNeedles(*engine_, Prose(20000), options_);
  options_.seed = 2;
  const auto c = MakeNeedles(*engine_, Prose(20000), options_);
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_EQ((*a)[3].tokens, (*b)[3].tokens);
  EXPECT_NE((*a)[3].tokens, (*c)[3].tokens);
}

TEST_F(NeedleTest, AnAnswerCountsWhenEveryTokenIsTheMostLikely) {
  const auto made = MakeNeedles(*engine_, Prose(20000), options_);
  ASSERT_TRUE(made.ok()) << made.status();
  const MeasuredConfig bf16{.name = "bf16", .config = KvConfig::Bf16()};
  const auto random = CountAnswered(*engine_, *made, bf16);
  ASSERT_TRUE(random.ok()) << random.status();
  EXPECT_EQ(*random, 0);  // a random model knows nothing

  // Questions whose answers are what the model says, and one that is wrong in its last token.
  std::vector<NeedleQuestion> easy(made->begin(), made->begin() + 2);
  const size_t vocab = engine_->model().config.vocab;
  for (NeedleQuestion& question : easy) {
    question.tokens.resize(question.answer_begin);
    for (int i = 0; i < 3; ++i) {
      std::vector<float> last;
      const absl::Status status = engine_->Score(
          question.tokens, bf16.config,
          {.decode_from = question.question_begin, .logits_from = std::ssize(question.tokens) - 1},
          [&](int64_t, std::span<const float> row) { last.assign(row.begin(), row.end()); });
      ASSERT_TRUE(status.ok()) << status;
      ASSERT_EQ(last.size(), vocab);
      question.tokens.push_back(
          static_cast<int32_t>(std::max_element(last.begin(), last.end()) - last.begin()));
    }
  }
  EXPECT_EQ(*CountAnswered(*engine_, easy, bf16), 2);
  easy[0].tokens.back() = (easy[0].tokens.back() + 1) % static_cast<int32_t>(vocab);
  EXPECT_EQ(*CountAnswered(*engine_, easy, bf16), 1);
}

TEST_F(NeedleTest, SaysWhenTheHaystackIsTooSmall) {
  EXPECT_EQ(GetErrorInfo(MakeNeedles(*engine_, Prose(300), options_).status())->reason,
            "TEXT_TOO_SHORT");
}

}  // namespace
}  // namespace kvpareto::tune
