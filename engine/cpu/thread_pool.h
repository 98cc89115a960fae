// The worker threads of the CPU backend.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kvpareto::cpu {

// Runs loops over independent items on all threads, the caller's included. Workers spin briefly for
// the next loop (a step is hundreds of short loops), then sleep, so shared cores do not collapse
// the speed. One caller at a time.
class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls fn(item, thread) for item in [0, items); thread in [0, threads()). Items are handed out
  // one by one, so uneven items balance. Returns when all are done; a worker that is not scheduled
  // in time is not waited for.
  void For(int items, const std::function<void(int item, int thread)>& fn);

 private:
  void Worker(int thread);
  void RunItems(int thread);
  // Waits, spinning first, until the ticket's loop is another than `loop`. False: the pool ends.
  bool AwaitLoop(uint32_t loop);

  const int threads_;
  std::vector<std::thread> workers_;
  // The loop's number in the upper half, how many of its items are unclaimed in the lower. An item
  // is claimed by compare-and-swap, so a late worker can never claim from a loop whose fn it has
  // not read, nor from a finished one.
  std::atomic<uint64_t> ticket_{0};
  std::atomic<const std::function<void(int, int)>*> fn_{nullptr};
  std::atomic<int> items_{0};
  std::atomic<int> done_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace kvpareto::cpu
