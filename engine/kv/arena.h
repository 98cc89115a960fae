// The one region of device memory that all blocks come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "engine/kv/tile.h"

namespace kvpareto::kv {

// Handle of an extent; stays valid when compaction moves the extent.
enum class ExtentId : uint32_t {};

struct ArenaStats {
  size_t capacity_bytes = 0;
  size_t reserved_bytes = 0;
  size_t allocated_bytes = 0;  // all extents, cached ones included
  size_t cached_bytes = 0;     // allocated without a promise
  size_t largest_free_bytes = 0;
  uint64_t moved_bytes_total = 0;  // by compaction
  int extents = 0;
};

// A best-fit offset allocator with compaction. Because extents are reached through handles and only
// the engine thread uses them, the arena may slide them together when free memory is scattered: so
// any set of reservations within the capacity can be honoured in full, whatever the mix of block
// sizes, and nothing is lost to size classes. Compaction moves as little as it can: the stretch of
// memory where the fewest live bytes stand between enough free ones. Measured against size-class
// slabs in docs/decisions/0001-arena.md. Not thread-safe: owned by the engine thread.
//
// Memory that nobody has been promised may hold extents that are kept because they may be useful
// again: cached bytes. A promise takes them back whenever it needs the room, so they never stand in
// anyone's way: reserved + cached <= capacity, and allocated - cached <= reserved.
class Arena {
 public:
  // Moves `bytes` from `from` to `to` (`to` < `from` where they overlap), on the device.
  // Also copies between two extents.
  using MoveFn = std::function<void(std::byte* to, const std::byte* from, size_t bytes)>;
  // Evicts cached extents until at least `bytes` fewer are cached, or none is left.
  using ReclaimFn = std::function<void(size_t bytes)>;

  // `base` is aligned to kRegionAlignment and outlives the arena.
  Arena(std::byte* base, size_t capacity_bytes, MoveFn move);

  // Promises `bytes` to a request: false when the sum of promises would exceed the capacity.
  // Allocations within one's promise never fail. Promise sizes are multiples of kRegionAlignment.
  // Has cached extents evicted where the promise needs their room.
  [[nodiscard]] bool Reserve(size_t bytes);
  void Unreserve(size_t bytes);

  // Without one nothing can be cached.
  void SetReclaim(ReclaimFn reclaim) { reclaim_ = std::move(reclaim); }
  // Has cached extents evicted without a promise that needs it.
  void Reclaim(size_t bytes) {
    if (reclaim_ && bytes > 0) reclaim_(bytes);
  }
  // Turns the promise of `bytes` that are allocated into cached bytes, and back.
  void Retain(size_t bytes);
  void Reuse(size_t bytes);
  // Frees an extent whose bytes are cached.
  void Evict(ExtentId extent);

  // `bytes` is a positive multiple of kRegionAlignment and the caller has reserved it: so this
  // always succeeds (it compacts if it must); KVP-style invariant, checked.
  ExtentId Allocate(size_t bytes);
  void Free(ExtentId extent);

  // Frees the end of an extent: `bytes` are left, a positive multiple of kRegionAlignment.
  void Shrink(ExtentId extent, size_t bytes);

  // Copies the first extent's bytes into the second, of the same size.
  void Copy(ExtentId from, ExtentId to);

  // Valid until the next Allocate. `extent` is live (checked, as in Free and Bytes).
  std::byte* Address(ExtentId extent) const;
  size_t Bytes(ExtentId extent) const;

  ArenaStats stats() const;

 private:
  struct Extent {
    size_t offset = 0;
    size_t bytes = 0;  // 0: unused slot
  };

  const Extent& Live(ExtentId extent) const;
  void AddFree(size_t offset, size_t bytes);
  // The stretch is free from now on: one with its free neighbours.
  void ReturnStretch(size_t begin, size_t end);
  void RemoveFree(size_t offset, size_t bytes);
  // Makes one free stretch of at least `bytes` out of several.
  void Compact(size_t bytes);
  // Slides the extents in [begin, end) down to begin; the free bytes gather before `end`.
  void SlideDown(size_t begin, size_t end);

  std::byte* base_;
  size_t capacity_bytes_;
  MoveFn move_;
  ReclaimFn reclaim_;
  size_t reserved_bytes_ = 0;
  size_t allocated_bytes_ = 0;
  size_t cached_bytes_ = 0;
  uint64_t moved_bytes_total_ = 0;
  std::vector<Extent> extents_;  // by ExtentId
  std::vector<uint32_t> unused_ids_;
  std::map<size_t, uint32_t> live_by_offset_;         // offset -> ExtentId
  std::map<size_t, size_t> free_by_offset_;           // offset -> bytes; no two touch
  std::set<std::pair<size_t, size_t>> free_by_size_;  // (bytes, offset)
};

}  // namespace kvpareto::kv
