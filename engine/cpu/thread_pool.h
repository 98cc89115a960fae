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
  // one by one, so uneven items balance. Returns when all are done.
  void For(int items, const std::function<void(int item, int thread)>& fn);

 private:
  void Worker(int thread);
  void RunItems(int thread);

  const int threads_;
  std::vector<std::thread> workers_;
  const std::function<void(int, int)>* fn_ = nullptr;
  int items_ = 0;
  std::atomic<int> next_item_{0};
  std::atomic<uint32_t> generation_{0};
  std::atomic<int> active_{0};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace kvpareto::cpu
