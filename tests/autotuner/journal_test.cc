#include "autotuner/journal.h"

#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <fstream>

#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::tune {
namespace {

class JournalTest : public testing::Test {
 protected:
  Journal Open() {
    auto journal = Journal::Open(path_);
    EXPECT_TRUE(journal.ok()) << journal.status();
    return *std::move(journal);
  }

  support::TempDir folder_;
  const std::string path_ = folder_.File("run.journal");
};

TEST_F(JournalTest, GivesBackTheSameDoubles) {
  const std::vector<double> values = {0.1, 1e-300, -2.5, 1.0 / 3.0, 0.0, 12345678.9};
  {
    Journal journal = Open();
    EXPECT_EQ(journal.Find("a"), nullptr);
    ASSERT_TRUE(journal.Append("a", values).ok());
    ASSERT_TRUE(journal.Append("empty", {}).ok());
    ASSERT_NE(journal.Find("a"), nullptr);
  }
  const Journal journal = Open();
  ASSERT_NE(journal.Find("a"), nullptr);
  EXPECT_EQ(*journal.Find("a"), values);
  ASSERT_NE(journal.Find("empty"), nullptr);
  EXPECT_TRUE(journal.Find("empty")->empty());
  EXPECT_EQ(journal.Find("b"), nullptr);
}

TEST_F(JournalTest, ARecordThatWasCutIsMeasuredAgain) {
  {
    Journal journal = Open();
    ASSERT_TRUE(journal.Append("whole", {1.0, 2.0}).ok());
  }
  std::ofstream(path_, std::ios::app) << R"({"key": "cut", "values": [1.5, 2.2)";
  {
    Journal journal = Open();
    EXPECT_EQ(journal.Find("cut"), nullptr);
    ASSERT_TRUE(journal.Append("next", {4.0}).ok());
  }
  const Journal journal = Open();
  EXPECT_EQ(journal.Find("cut"), nullptr);
  ASSERT_NE(journal.Find("next"), nullptr);
  EXPECT_EQ(*journal.Find("next"), std::vector<double>({4.0}));
  EXPECT_NE(journal.Find("whole"), nullptr);
}

// Files of this process grow no further than `bytes`, as on a full disk; put back at the end.
class FullDisk {
 public:
  explicit FullDisk(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FullDisk() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  const sighandler_t handler_;
  rlimit before_{};
};

TEST_F(JournalTest, AFullDiskIsAnErrorAndKeepsWhatIsThere) {
  {
    Journal journal = Open();
    ASSERT_TRUE(journal.Append("whole", {1.0}).ok());
    const FullDisk full(100);
    const absl::Status status = journal.Append("cut", std::vector<double>(100, 0.5));
    ASSERT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_EQ(GetErrorInfo(status)->reason, "FILE_NOT_WRITABLE");
    EXPECT_EQ(journal.Find("cut"), nullptr);
  }
  Journal journal = Open();
  EXPECT_NE(journal.Find("whole"), nullptr);
  EXPECT_EQ(journal.Find("cut"), nullptr);
  EXPECT_TRUE(journal.Append("cut", {2.0}).ok());
}

TEST_F(JournalTest, LinesThatAreNoRecordsAreSkipped) {
  std::ofstream(path_) << "\nkey\n[1]\n{\"values\": [1]}\n{\"key\": 5, \"values\": [1]}\n"
                       << "{\"key\": \"key\"}\n{\"key\": \"key\", \"values\": 1}\n"
                       << "{\"key\": \"good\", \"values\": [1]}\n";
  const Journal journal = Open();
  EXPECT_EQ(journal.Find("key"), nullptr);
  EXPECT_NE(journal.Find("good"), nullptr);
}

TEST_F(JournalTest, KeepsFailuresApartFromValues) {
  {
    Journal journal = Open();
    ASSERT_TRUE(journal.AppendFailure("a", "KV_EXCEEDS_CAPACITY", "trial \xff a").ok());
  }
  const Journal journal = Open();
  EXPECT_EQ(journal.Find("a"), nullptr);
  ASSERT_NE(journal.FindFailure("a"), nullptr);
  EXPECT_EQ(*journal.FindFailure("a"), "KV_EXCEEDS_CAPACITY");
  EXPECT_EQ(journal.FindFailure("b"), nullptr);
}

TEST_F(JournalTest, NumbersThatAreNotFiniteAreNaN) {
  {
    Journal journal = Open();
    ASSERT_TRUE(journal.Append("a", {INFINITY, 1.0}).ok());
  }
  const Journal journal = Open();
  ASSERT_NE(journal.Find("a"), nullptr);
  EXPECT_TRUE(std::isnan(journal.Find("a")->front()));
}

TEST_F(JournalTest, SaysWhenItCannotBeWritten) {
  EXPECT_EQ(GetErrorInfo(Journal::Open(folder_.File("no/such/folder")).status())->reason,
            "FILE_NOT_WRITABLE");
}

TEST(KeyOfTest, PartsDoNotRunIntoOneAnother) {
  EXPECT_NE(KeyOf({"ab", "c"}), KeyOf({"a", "bc"}));
  EXPECT_NE(KeyOf({"a"}), KeyOf({"a", ""}));
  EXPECT_EQ(KeyOf({"a", "b"}), KeyOf({"a", "b"}));
  EXPECT_NE(TokensDigest({1, 2}), TokensDigest({2, 1}));
}

}  // namespace
}  // namespace kvpareto::tune
