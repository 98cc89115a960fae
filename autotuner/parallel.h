// Work of the tuner itself on several threads, while the engine waits for it.
#pragma once

#include <functional>

namespace kvpareto::tune {

// Calls f(0) ... f(count - 1) from up to `threads` threads (0: one per core), in any order; returns
// when all have returned.
void ParallelFor(int count, int threads, const std::function<void(int)>& f);

}  // namespace kvpareto::tune
