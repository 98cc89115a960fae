#include "autotuner/parallel.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

TEST(ParallelForTest, CallsEveryIndexOnce) {
  for (const int count : {0, 1, 3, 1000}) {
    for (const int threads : {0, 1, 2, 7}) {
      std::vector<std::atomic<int>> calls(count);
      ParallelFor(count, threads, [&](int i) { ++calls[i]; });
      for (int i = 0; i < count; ++i) ASSERT_EQ(calls[i], 1) << i << " of " << count;
    }
  }
}

TEST(ParallelForTest, OneThreadIsTheCallers) {
  ParallelFor(10, 1, [caller = std::this_thread::get_id()](int) {
    EXPECT_EQ(std::this_thread::get_id(), caller);
  });
}

// Each call waits for the others, so that no thread can take two.
TEST(ParallelForTest, UsesAsManyThreadsAsAskedFor) {
  constexpr int kThreads = 3;
  std::atomic<int> arrived = 0;
  std::mutex mutex;
  std::set<std::thread::id> seen;
  ParallelFor(kThreads, kThreads, [&](int) {
    ++arrived;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived < kThreads && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::yield();
    }
    const std::lock_guard lock(mutex);
    seen.insert(std::this_thread::get_id());
  });
  EXPECT_EQ(seen.size(), kThreads);
}

}  // namespace
}  // namespace kvpareto::tune
