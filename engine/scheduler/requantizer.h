// Makes running requests smaller: their sealed blocks are encoded anew by the config of another
// plan that was acceptable when they were planned, if they keep meeting their accuracy target with
// what they have lost until then (AccuracyAfter).
//
// A request changes its config at once, which gives back what its future blocks need less; its
// present blocks follow a few in a round, so that streams keep their rhythm, and give back what
// they have become smaller by. Of all requests and plans, the ones that lose the least accuracy per
// byte go first.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "engine/kv/arena.h"
#include "engine/scheduler/active_request.h"
#include "engine/scheduler/cache_format.h"
#include "engine/scheduler/step_executor.h"

namespace kvpareto {

// Blocks that are re-encoded between two steps.
inline constexpr int kRequantizedBlocksPerRound = 4;

// What is asked for.
struct ReliefDemand {
  uint64_t wanted_bytes = 0;  // of reservations in the arena
  std::span<const std::unique_ptr<ActiveRequest>> running;
  // Whether a running request may be made smaller: its class allows it and it would help.
  std::function<bool(const ActiveRequest&)> may_shrink;
};

// Engine thread only.
class Requantizer {
 public:
  // All outlive this.
  Requantizer(CacheFormats* formats, StepExecutor* executor, kv::Arena* arena)
      : formats_(formats), executor_(executor), arena_(arena) {}

  // Gives back reservations (Arena::Unreserve) of `wanted_bytes` or a little more, less where there
  // is not more to have; returns how many bytes. Requests that shrink have their reserved_bytes
  // lowered by what is given back. What is still being re-encoded counts as on its way: no more
  // requests are made smaller than it takes together with that.
  uint64_t Free(const ReliefDemand& demand);

  // Once a round: re-encodes up to kRequantizedBlocksPerRound blocks.
  void Advance(std::span<const std::unique_ptr<ActiveRequest>> running);

  // Re-encoded since the start, in bytes before, by the labels of the configs (from, to).
  const std::map<std::pair<std::string, std::string>, uint64_t>& bytes_total() const {
    return bytes_total_;
  }

 private:
  // One request under another plan.
  struct Change {
    ActiveRequest* request = nullptr;
    const Plan* plan = nullptr;
    std::shared_ptr<const CacheFormat> format;  // of the plan, with the request's prefill chunk
    PromisedAccuracy accuracy;                  // from then on
    double loss = 0.0;                          // of accuracy
    uint64_t freed_bytes = 0;                   // of the reservation, when all has been re-encoded
    int blocks_at_once = 0;                     // without which the reservation would not do
    double loss_per_byte() const { return loss / static_cast<double>(freed_bytes); }
  };

  std::optional<Change> Cheapest(const ReliefDemand& demand);
  std::optional<Change> Consider(ActiveRequest& request, const Plan& plan);
  // Returns the bytes given back at once.
  uint64_t Apply(const Change& change);
  uint64_t Reencode(ActiveRequest& request, int max_blocks);
  uint64_t OnItsWay(std::span<const std::unique_ptr<ActiveRequest>> running) const;

  CacheFormats* const formats_;
  StepExecutor* const executor_;
  kv::Arena* const arena_;
  std::map<std::pair<std::string, std::string>, uint64_t> bytes_total_;
};

}  // namespace kvpareto
