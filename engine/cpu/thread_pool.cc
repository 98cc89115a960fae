#include "engine/cpu/thread_pool.h"

#include <sched.h>

#include "engine/base/check.h"

namespace kvpareto::cpu {
namespace {

// About 50 us of pauses: longer than the serial gaps inside a step, shorter than a time slice.
constexpr int kSpins = 1500;
// The caller's wait for claimed items gives its core away after this many pauses.
constexpr int kSpinsBeforeYield = 4000;

void Pause() { __builtin_ia32_pause(); }

constexpr uint32_t LoopOf(uint64_t ticket) { return static_cast<uint32_t>(ticket >> 32); }
constexpr int UnclaimedOf(uint64_t ticket) { return static_cast<int>(ticket & 0xffffffffu); }

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  KVP_CHECK(threads >= 1) << threads;
  for (int thread = 1; thread < threads; ++thread) {
    workers_.emplace_back([this, thread] { Worker(thread); });
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::For(int items, const std::function<void(int, int)>& fn) {
  if (threads_ == 1 || items <= 1) {
    for (int item = 0; item < items; ++item) fn(item, 0);
    return;
  }
  const uint64_t next_loop = (ticket_.load(std::memory_order_relaxed) >> 32) + 1;
  fn_.store(&fn, std::memory_order_relaxed);
  items_.store(items, std::memory_order_relaxed);
  done_.store(0, std::memory_order_relaxed);
  // Sequentially consistent, as the increment of sleeping_: one of the two sides sees the other.
  ticket_.store((next_loop << 32) | static_cast<uint32_t>(items));
  if (sleeping_.load() > 0) {
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  RunItems(0);
  for (int spins = 0; done_.load(std::memory_order_acquire) != items; ++spins) {
    if (spins < kSpinsBeforeYield) {
      Pause();
    } else {
      sched_yield();
    }
  }
}

void ThreadPool::RunItems(int thread) {
  uint64_t ticket = ticket_.load(std::memory_order_acquire);
  while (UnclaimedOf(ticket) > 0) {
    // Valid only if the compare-and-swap succeeds: then the loop was still this one.
    const std::function<void(int, int)>* fn = fn_.load(std::memory_order_relaxed);
    const int item = items_.load(std::memory_order_relaxed) - UnclaimedOf(ticket);
    if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
      continue;
    }
    (*fn)(item, thread);
    done_.fetch_add(1, std::memory_order_release);
    ticket = ticket_.load(std::memory_order_acquire);
  }
}

bool ThreadPool::AwaitLoop(uint32_t loop) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (stop_.load(std::memory_order_relaxed)) return false;
    if (LoopOf(ticket_.load(std::memory_order_acquire)) != loop) return true;
    Pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleeping_.fetch_add(1);
  wake_.wait(lock, [&] { return stop_.load() || LoopOf(ticket_.load()) != loop; });
  sleeping_.fetch_sub(1);
  return !stop_.load();
}

void ThreadPool::Worker(int thread) {
  uint32_t loop = 0;
  while (AwaitLoop(loop)) {
    loop = LoopOf(ticket_.load(std::memory_order_acquire));
    RunItems(thread);
  }
}

}  // namespace kvpareto::cpu
