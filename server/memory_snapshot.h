// What memory is used for now, from the engines' statistics.
#pragma once

#include <cstdint>
#include <string>

#include "engine/stats.h"
#include "kvpareto/v1/memory.pb.h"
#include "server/models.h"
#include "server/status.h"

namespace kvpareto::server {

// Numbers that metrics and the memory service both show, derived in one place.
struct MemoryTotals {
  uint64_t allocated_bytes = 0;
  uint64_t live_bytes = 0;
  uint64_t reserved_bytes = 0;
  int64_t saved_bytes = 0;           // bf16 - live
  double fragmentation_ratio = 0.0;  // 1 - largest free / free; 0 when nothing is free
  double utilization_ratio = 0.0;    // allocated / capacity
};
MemoryTotals Totals(const EngineStats& stats);

v1::ModelMemory ToProto(const std::string& model, const EngineStats& stats);

// Of the named model, or of all when `model` is empty. Errors: NOT_FOUND (MODEL_NOT_FOUND).
absl::StatusOr<v1::MemorySnapshot> TakeMemorySnapshot(const Models& models,
                                                      const std::string& model);

// Resident bytes of this process as the operating system reports them; 0 if it does not.
uint64_t ProcessResidentBytes();

}  // namespace kvpareto::server
