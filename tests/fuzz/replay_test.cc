// Every target on its seeds and on all inputs that it once failed on, in the ordinary build too.
#include <chrono>
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/fuzz/targets.h"
#include "tests/support/temp_dir.h"

namespace kvpareto::fuzz {
namespace {

using std::chrono::steady_clock;

// Far above what any input takes, far below what a hang takes.
constexpr std::chrono::seconds kMaxTime{20};

std::vector<std::filesystem::path> InputsOf(const std::string& folder, std::string_view target) {
  std::vector<std::filesystem::path> files;
  const auto path = std::filesystem::path(KVPARETO_FUZZ_DIR) / folder / target;
  if (!std::filesystem::exists(path)) return files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry);
  return files;
}

class Replay : public testing::TestWithParam<Target> {};

TEST_P(Replay, EndsWithoutABrokenPromise) {
  const Target& target = GetParam();
  std::vector<std::filesystem::path> inputs = InputsOf("corpus", target.name);
  EXPECT_THAT(inputs, testing::Not(testing::IsEmpty())) << "no seeds";
  for (const auto& path : InputsOf("regressions", target.name)) inputs.push_back(path);
  target.run("");
  for (const auto& path : inputs) {
    SCOPED_TRACE(path);
    const auto start = steady_clock::now();
    target.run(support::ReadBytes(path));
    EXPECT_LT(steady_clock::now() - start, kMaxTime);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Replay, testing::ValuesIn(kTargets),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace kvpareto::fuzz
