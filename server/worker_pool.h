// Threads for work that takes longer than a gRPC thread should be held: tokenizing and planning.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace kvpareto::server {

class WorkerPool {
 public:
  WorkerPool(int threads, size_t max_waiting);
  // Runs what is waiting, then joins.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False, and `work` is dropped, when max_waiting are already waiting. First in, first out.
  bool TryRun(std::function<void()> work);

 private:
  void Loop();

  const size_t max_waiting_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace kvpareto::server
