// How requests share prefixes: who takes over what before a step, and what is left to others after
// it.
//
// A sequence takes over what is there when it is about to compute a chunk itself. It waits while
// another one of the same step computes the very chunk that it needs next. The continuations of a
// request (n > 1) wait until the first one stands at the last chunk of the prompt, and go on from
// there.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>

#include "engine/kv/arena.h"
#include "engine/scheduler/active_request.h"
#include "engine/scheduler/prefix_cache.h"
#include "engine/scheduler/step_executor.h"

namespace kvpareto {

// Prompt tokens since the start, of requests that use the prefix cache.
struct PrefixCounts {
  uint64_t hit_tokens = 0;   // found there
  uint64_t miss_tokens = 0;  // computed
};

// Engine thread only.
class PrefixSharing {
 public:
  // `arena` outlives this. With max_cached_bytes == 0 only the sequences of one request share.
  PrefixSharing(PrefixCacheOptions options, kv::Arena* arena)
      : cache_(std::move(options), arena), arena_(arena) {}

  PrefixCache& cache() { return cache_; }
  const PrefixCache& cache() const { return cache_; }
  const PrefixCounts& counts() const { return counts_; }

  // What of a request's prompt is cached in the config of a plan.
  struct Hit {
    PrefixNode* prefix = nullptr;  // the longest; null: there is none
    uint64_t bytes = 0;            // of its final blocks
    uint64_t used_bytes = 0;       // of these, promised already: somebody runs on them
  };
  Hit Find(const ActiveRequest& request, const KvConfig& config) const;
  // From its admission with a hit to Start, the request uses the prefix, which so is promised; its
  // tail is the last to go.
  void Pin(ActiveRequest& request, PrefixNode* prefix);
  void Unpin(ActiveRequest& request);

  // Makes the sequences of a request whose plan's bytes, less those of the pinned prefix, are
  // reserved; the first one goes on from there.
  void Start(ActiveRequest& request, const std::shared_ptr<const CacheFormat>& format,
             StepExecutor& executor);

  // Before a step. Lets the continuations of `request` go on that waited for its first one.
  void Fork(ActiveRequest& request);

  // What one sequence would do in a step.
  struct Turn {
    bool waits = false;
    PrefixNode* prefix = nullptr;  // taken over first, if not null
    int64_t tokens = 0;            // where it stands then
  };
  // `taken` holds the chunks of the step's earlier sequences, and gets this one's.
  using Chunks = std::set<std::pair<const PrefixNode*, uint64_t>>;
  Turn TurnOf(const ActiveRequest& request, const Sequence& sequence, Chunks& taken);
  // The sequence takes over the prefix of its turn. False: its end is gone since.
  bool TakeOver(ActiveRequest& request, Sequence& sequence, PrefixNode* prefix);

  // After a step of the sequence, that has run.
  void Share(ActiveRequest& request, Sequence& sequence);

 private:
  bool Keeps(const ActiveRequest& request) const;
  PrefixDomain* Enter(const ActiveRequest& request, std::shared_ptr<const CacheFormat> format);
  void CountHit(ActiveRequest& request, const Sequence& sequence, int64_t tokens);

  PrefixCache cache_;
  kv::Arena* const arena_;
  PrefixCounts counts_;
};

}  // namespace kvpareto
