#include "autotuner/task_run.h"

#include <map>

#include "gmock/gmock.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

class TaskRunTest : public TinyEngineTest {
 protected:
  TaskRunTest() {
    const auto prompt = *engine_->Tokenize(Prose(700));
    for (int i = 0; i < 6; ++i) {
      TaskItem item{.id = std::to_string(i), .prompt = prompt, .digest = "d" + std::to_string(i)};
      item.prompt.resize(prompt.size() - i);
      item.expected =
          Answer{.metric = Metric::kContainsAny, .references = {"?"}, .max_new_tokens = 8 + i};
      task_.items.push_back(std::move(item));
    }
  }
  std::vector<ItemScore> Run(TaskRunOptions options, const NamedConfig& config) {
    TaskRunner runner(*engine_, std::move(options));
    auto scores = runner.Run(task_, config);
    EXPECT_TRUE(scores.ok()) << scores.status();
    return scores.ok() ? *scores : std::vector<ItemScore>();
  }

  Task task_{.name = "tiny", .kind = "jsonl", .items = {}};
  const NamedConfig bf16_{"bf16", KvConfig::Bf16(64)};
  const NamedConfig int2_{"int2",
                          *KvConfig::Parse("k=int2-channel v=int2-token sink=0 recent=0 chunk=64")};
};

TEST_F(TaskRunTest, AnswersDoNotDependOnHowManyRunAtOnce) {
  const auto one = Run({.max_in_flight = 1}, int2_);
  const auto many = Run({.max_in_flight = 6}, int2_);
  ASSERT_EQ(one.size(), 6);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].output, many[i].output);
    EXPECT_GT(one[i].generated_tokens, 0);
  }
  EXPECT_NE(one[5].output, Run({}, bf16_)[5].output);  // the config is what was asked for
}

TEST_F(TaskRunTest, ScoresByTheItemsMetric) {
  const std::string output = Run({}, bf16_)[3].output;
  ASSERT_FALSE(output.empty());
  std::get<Answer>(task_.items[3].expected).references = {"none of it", output};
  const auto scores = Run({}, bf16_);
  EXPECT_EQ(scores[3].score, 1.0);
}

TEST_F(TaskRunTest, GoesOnWhereItStopped) {
  std::map<std::string, double> journal;
  std::atomic<bool> stop = false;
  TaskRunOptions options{.max_in_flight = 2,
                         .known = [&](const std::string& key) -> std::optional<double> {
                           const auto found = journal.find(key);
                           return found == journal.end() ? std::optional<double>() : found->second;
                         },
                         .finished =
                             [&](const TaskItem&, const std::string& key, const ItemScore& score) {
                               EXPECT_TRUE(journal.emplace(key, score.score + 0.25).second);
                               stop = journal.size() >= 2;
                               return absl::OkStatus();
                             },
                         .stop = &stop};
  TaskRunner runner(*engine_, options);
  const auto stopped = runner.Run(task_, bf16_);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(GetErrorInfo(stopped.status())->reason, "STOPPED");
  const size_t before = journal.size();
  EXPECT_GE(before, 2);
  EXPECT_LT(before, 6);

  stop = false;
  options.stop = nullptr;
  TaskRunner again(*engine_, options);
  const auto scores = again.Run(task_, bf16_);
  ASSERT_TRUE(scores.ok()) << scores.status();
  EXPECT_EQ(journal.size(), 6);
  size_t known = 0;
  for (const ItemScore& score : *scores) {
    known += score.known ? 1 : 0;
    EXPECT_EQ(score.known, score.score >= 0.25);  // what the journal says is taken as it is
  }
  EXPECT_EQ(known, before);
  EXPECT_TRUE(again.Run(task_, int2_).ok());  // another config: nothing of it is known
  EXPECT_EQ(journal.size(), 12);
}

TEST_F(TaskRunTest, AnErrorEndsTheRunAndLeavesNothingBehind) {
  TaskRunner runner(*engine_,
                    {.max_in_flight = 4, .finished = [](const auto&, const auto&, const auto&) {
                       return absl::InternalError("disk full");
                     }});
  EXPECT_EQ(runner.Run(task_, bf16_).status().message(), "disk full");
  for (const auto& [service_class, running] : engine_->Stats().running) EXPECT_EQ(running, 0);

  std::get<Answer>(task_.items[4].expected).max_new_tokens = 1 << 20;
  TaskRunner too_long(*engine_, {});
  EXPECT_EQ(GetErrorInfo(too_long.Run(task_, bf16_).status())->reason, "MAX_TOKENS_TOO_LARGE");
}

TEST_F(TaskRunTest, ChoicesTakeTheLikeliest) {
  const auto& prompt = task_.items[0].prompt;
  std::vector<float> logits;
  ASSERT_TRUE(engine_
                  ->Score(prompt, bf16_.config, {.logits_from = std::ssize(prompt) - 1},
                          [&](int64_t, std::span<const float> row) {
                            logits.assign(row.begin(), row.end());
                          })
                  .ok());
  const int likely = 'a', unlikely = 'b';
  const int best = logits[likely] > logits[unlikely] ? 0 : 1;
  Choice choice{.options = {{likely}, {unlikely}}, .right = best};
  task_.items.resize(1);
  task_.items[0].expected = choice;
  EXPECT_EQ(Run({}, bf16_)[0].score, 1.0);
  // The same with an option of two tokens, which can only be less likely than its first one.
  choice.options[1 - best].push_back(unlikely);
  task_.items[0].expected = choice;
  EXPECT_EQ(Run({}, bf16_)[0].score, 1.0);
  choice.right = 1 - best;
  task_.items[0].expected = choice;
  EXPECT_EQ(Run({}, bf16_)[0].score, 0.0);
}

TEST_F(TaskRunTest, LikelihoodIsOneOverPerplexity) {
  const auto& prompt = task_.items[0].prompt;
  const int64_t first = 400;
  double nll = 0.0;
  const size_t vocab = engine_->model().config.vocab;
  ASSERT_TRUE(engine_
                  ->Score(prompt, bf16_.config, {.logits_from = first},
                          [&](int64_t position, std::span<const float> rows) {
                            for (size_t r = 0; r * vocab < rows.size(); ++r) {
                              const size_t next = position + r + 1;
                              if (next == prompt.size()) break;
                              const auto row = rows.subspan(r * vocab, vocab);
                              double sum = 0.0;
                              for (const float logit : row) sum += std::exp(logit);
                              nll += std::log(sum) - row[prompt[next]];
                            }
                          })
                  .ok());
  task_.items.resize(1);
  task_.items[0].expected = Likelihood{.first_counted = first};
  const double expected = std::exp(-nll / (prompt.size() - 1.0 - first));
  EXPECT_NEAR(Run({}, bf16_)[0].score, expected, 0.02 * expected);
}

TEST_F(TaskRunTest, AgreementIsWithTheBf16Cache) {
  task_.items.resize(1);
  task_.items[0].expected = Agreement{.first_counted = 300};
  EXPECT_EQ(Run({}, bf16_)[0].score, 1.0);
  const double int2 = Run({}, int2_)[0].score;
  EXPECT_GT(int2, 0.0);
  EXPECT_LT(int2, 1.0);
}

}  // namespace
}  // namespace kvpareto::tune
