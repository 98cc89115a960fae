#include "autotuner/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace kvpareto::tune {

void ParallelFor(int count, int threads, const std::function<void(int)>& f) {
  if (threads <= 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::atomic<int> next = 0;
  const auto work = [&] {
    for (int i = next++; i < count; i = next++) f(i);
  };
  std::vector<std::jthread> others;
  for (int t = 1; t < std::min(threads, count); ++t) others.emplace_back(work);
  work();
}

}  // namespace kvpareto::tune
