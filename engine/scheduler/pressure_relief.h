// Ways to get promised KV memory back without taking it from anyone who needs it: shedding the
// prefix cache, and requantizing running sequences. Admission asks for them in the order that the
// waiting request's class allows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "engine/scheduler/active_request.h"

namespace kvpareto {

// What is asked for.
struct ReliefDemand {
  uint64_t wanted_bytes = 0;  // of reservations in the arena
  std::span<const std::unique_ptr<ActiveRequest>> running;
  // Whether a running request may be made smaller: its class allows it and it would help.
  std::function<bool(const ActiveRequest&)> may_shrink;
};

// Engine thread only, between steps.
class PressureRelief {
 public:
  virtual ~PressureRelief() = default;
  // Gives back reservations (Arena::Unreserve) of `wanted_bytes` or a little more, less where there
  // is not more to have; returns how many bytes. Running requests that shrink have their
  // reserved_bytes lowered by what is given back, and keep meeting their accuracy target.
  virtual uint64_t Free(const ReliefDemand& demand) = 0;
};

}  // namespace kvpareto
