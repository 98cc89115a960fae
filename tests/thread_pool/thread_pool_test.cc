#include "engine/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace kvpareto::cpu {
namespace {

TEST(ThreadPool, RunsEveryItemOnce) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (const int items : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<int> runs(items);
      pool.For(items, [&](int item, int thread) {
        ++runs[item];
        EXPECT_GE(thread, 0);
        EXPECT_LT(thread, threads);
      });
      EXPECT_EQ(runs, std::vector<int>(items, 1)) << threads << " threads";
    }
  }
}

// Plain memory written by one loop is read by the next, whoever runs it (TSan would see a race).
TEST(ThreadPool, LoopsAreOrdered) {
  ThreadPool pool(3);
  constexpr int kItems = 50, kLoops = 2000;
  std::vector<int> now(kItems), next(kItems);
  for (int loop = 0; loop < kLoops; ++loop) {
    pool.For(kItems, [&](int item, int) { next[item] = now[kItems - 1 - item] + 1; });
    now.swap(next);
  }
  EXPECT_EQ(now, std::vector<int>(kItems, kLoops));
}

TEST(ThreadPool, WakesWorkersThatWentToSleep) {
  ThreadPool pool(2);
  int total = 0;
  for (int loop = 0; loop < 5; ++loop) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    std::vector<int> seen(2);
    std::atomic<int> arrived{0};
    // Each item waits for the other: both threads must take part.
    pool.For(2, [&](int item, int) {
      arrived.fetch_add(1);
      while (arrived.load() < 2) std::this_thread::yield();
      seen[item] = 1;
    });
    total += seen[0] + seen[1];
  }
  EXPECT_EQ(total, 10);
}

TEST(ThreadPool, EachThreadNumberIsUsedByOneThreadAtATime) {
  ThreadPool pool(4);
  std::vector<int> busy(4);  // not atomic: a number shared by two threads is a race that TSan sees
  for (int loop = 0; loop < 200; ++loop) {
    pool.For(16, [&](int, int thread) {
      EXPECT_EQ(busy[thread]++, 0);
      --busy[thread];
    });
  }
}

}  // namespace
}  // namespace kvpareto::cpu
