#include "server/worker_pool.h"

#include <gtest/gtest.h>

#include <future>
#include <optional>

namespace kvpareto::server {
namespace {

TEST(WorkerPool, RefusesWhatExceedsTheQueueAndRunsTheRest) {
  std::optional<WorkerPool> pool(std::in_place, 1, 1);
  std::promise<void> started, release;
  std::shared_future<void> released = release.get_future().share();
  ASSERT_TRUE(pool->TryRun([&] {
    started.set_value();
    released.wait();
  }));
  started.get_future().wait();  // the only thread is busy
  bool second_ran = false;
  EXPECT_TRUE(pool->TryRun([&] { second_ran = true; }));
  EXPECT_FALSE(pool->TryRun([] {}));
  release.set_value();
  pool.reset();  // joins, having run what waited
  EXPECT_TRUE(second_ran);
}

TEST(WorkerPool, RunsInOrderOnOneThread) {
  std::vector<int> order;
  {
    WorkerPool pool(1, 100);
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(pool.TryRun([&order, i] { order.push_back(i); }));
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

}  // namespace
}  // namespace kvpareto::server
