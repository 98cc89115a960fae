#include "engine/kv/arena.h"

#include <algorithm>

#include "engine/base/check.h"

namespace kvpareto::kv {

Arena::Arena(std::byte* base, size_t capacity_bytes, MoveFn move)
    : base_(base),
      capacity_bytes_(capacity_bytes / kRegionAlignment * kRegionAlignment),
      move_(std::move(move)) {
  KVP_CHECK(reinterpret_cast<uintptr_t>(base) % kRegionAlignment == 0);
  if (capacity_bytes_ > 0) AddFree(0, capacity_bytes_);
}

bool Arena::Reserve(size_t bytes) {
  if (bytes > capacity_bytes_ - reserved_bytes_) return false;
  const size_t room = capacity_bytes_ - reserved_bytes_ - cached_bytes_;
  if (bytes > room) {
    reclaim_(bytes - room);
    KVP_CHECK(bytes <= capacity_bytes_ - reserved_bytes_ - cached_bytes_)
        << "evicting left " << cached_bytes_ << " bytes cached";
  }
  reserved_bytes_ += bytes;
  return true;
}

void Arena::Unreserve(size_t bytes) {
  KVP_CHECK(bytes <= reserved_bytes_ && allocated_bytes_ - cached_bytes_ <= reserved_bytes_ - bytes)
      << "unreserving " << bytes << " of " << reserved_bytes_ << ", "
      << allocated_bytes_ - cached_bytes_ << " still allocated";
  reserved_bytes_ -= bytes;
}

void Arena::Retain(size_t bytes) {
  KVP_CHECK(reclaim_ && bytes <= reserved_bytes_ && bytes <= allocated_bytes_ - cached_bytes_)
      << "caching " << bytes << " of " << reserved_bytes_;
  reserved_bytes_ -= bytes;
  cached_bytes_ += bytes;
}

void Arena::Reuse(size_t bytes) {
  KVP_CHECK(bytes <= cached_bytes_) << "using " << bytes << " of " << cached_bytes_;
  cached_bytes_ -= bytes;
  reserved_bytes_ += bytes;
}

void Arena::Evict(ExtentId extent) {
  const size_t bytes = Bytes(extent);
  KVP_CHECK(bytes <= cached_bytes_) << "evicting " << bytes << " of " << cached_bytes_;
  cached_bytes_ -= bytes;
  Free(extent);
}

ExtentId Arena::Allocate(size_t bytes) {
  KVP_CHECK(bytes > 0 && bytes % kRegionAlignment == 0) << bytes << " bytes";
  KVP_CHECK(bytes <= reserved_bytes_ + cached_bytes_ - allocated_bytes_)
      << bytes << " bytes wanted, " << reserved_bytes_ << " reserved, "
      << allocated_bytes_ - cached_bytes_ << " allocated";
  auto best = free_by_size_.lower_bound({bytes, 0});
  if (best == free_by_size_.end()) {
    Compact(bytes);
    best = free_by_size_.lower_bound({bytes, 0});
    KVP_CHECK(best != free_by_size_.end()) << "compaction made no room for " << bytes;
  }
  const auto [free_bytes, offset] = *best;
  RemoveFree(offset, free_bytes);
  if (free_bytes > bytes) AddFree(offset + bytes, free_bytes - bytes);

  uint32_t id = static_cast<uint32_t>(extents_.size());
  if (unused_ids_.empty()) {
    extents_.emplace_back();
  } else {
    id = unused_ids_.back();
    unused_ids_.pop_back();
  }
  extents_[id] = {.offset = offset, .bytes = bytes};
  live_by_offset_.emplace(offset, id);
  allocated_bytes_ += bytes;
  return ExtentId{id};
}

void Arena::Free(ExtentId extent) {
  const Extent freed = Live(extent);
  extents_[static_cast<uint32_t>(extent)] = {};
  unused_ids_.push_back(static_cast<uint32_t>(extent));
  live_by_offset_.erase(freed.offset);
  allocated_bytes_ -= freed.bytes;

  ReturnStretch(freed.offset, freed.offset + freed.bytes);
}

void Arena::Shrink(ExtentId extent, size_t bytes) {
  const Extent old = Live(extent);
  KVP_CHECK(bytes > 0 && bytes <= old.bytes && bytes % kRegionAlignment == 0)
      << bytes << " of " << old.bytes;
  if (bytes == old.bytes) return;
  extents_[static_cast<uint32_t>(extent)].bytes = bytes;
  allocated_bytes_ -= old.bytes - bytes;
  ReturnStretch(old.offset + bytes, old.offset + old.bytes);
}

void Arena::ReturnStretch(size_t begin, size_t end) {
  auto after = free_by_offset_.lower_bound(begin);
  if (after != free_by_offset_.begin()) {
    const auto [offset, bytes] = *std::prev(after);
    if (offset + bytes == begin) {
      begin = offset;
      RemoveFree(offset, bytes);
    }
  }
  if (after != free_by_offset_.end() && after->first == end) {
    end += after->second;
    RemoveFree(after->first, after->second);
  }
  AddFree(begin, end - begin);
}

void Arena::Copy(ExtentId from, ExtentId to) {
  KVP_CHECK(Bytes(from) == Bytes(to)) << Bytes(from) << " bytes into " << Bytes(to);
  move_(Address(to), Address(from), Bytes(from));
}

std::byte* Arena::Address(ExtentId extent) const { return base_ + Live(extent).offset; }

size_t Arena::Bytes(ExtentId extent) const { return Live(extent).bytes; }

ArenaStats Arena::stats() const {
  return {.capacity_bytes = capacity_bytes_,
          .reserved_bytes = reserved_bytes_,
          .allocated_bytes = allocated_bytes_,
          .cached_bytes = cached_bytes_,
          .largest_free_bytes = free_by_size_.empty() ? 0 : free_by_size_.rbegin()->first,
          .moved_bytes_total = moved_bytes_total_,
          .extents = static_cast<int>(live_by_offset_.size())};
}

const Arena::Extent& Arena::Live(ExtentId extent) const {
  const auto index = static_cast<uint32_t>(extent);
  KVP_CHECK(index < extents_.size() && extents_[index].bytes > 0) << "extent " << index;
  return extents_[index];
}

void Arena::AddFree(size_t offset, size_t bytes) {
  free_by_offset_.emplace(offset, bytes);
  free_by_size_.emplace(bytes, offset);
}

void Arena::RemoveFree(size_t offset, size_t bytes) {
  free_by_offset_.erase(offset);
  free_by_size_.erase({bytes, offset});
}

void Arena::Compact(size_t bytes) {
  // Over all runs of free stretches that hold `bytes` together (two pointers), the one with the
  // fewest live bytes in between. It exists: the caller checked that this much is free in all.
  size_t best_begin = 0, best_end = 0, best_live = capacity_bytes_ + 1;
  auto first = free_by_offset_.begin();
  size_t free_bytes = 0;
  for (auto last = free_by_offset_.begin(); last != free_by_offset_.end(); ++last) {
    free_bytes += last->second;
    while (free_bytes - first->second >= bytes) free_bytes -= (first++)->second;
    const size_t end = last->first + last->second;
    const size_t live = end - first->first - free_bytes;
    if (free_bytes >= bytes && live < best_live) {
      best_begin = first->first;
      best_end = end;
      best_live = live;
    }
  }
  SlideDown(best_begin, best_end);
}

void Arena::SlideDown(size_t begin, size_t end) {
  for (auto it = free_by_offset_.lower_bound(begin);
       it != free_by_offset_.end() && it->first < end;) {
    free_by_size_.erase({it->second, it->first});
    it = free_by_offset_.erase(it);
  }
  size_t to = begin;
  for (auto it = live_by_offset_.lower_bound(begin);
       it != live_by_offset_.end() && it->first < end;) {
    const uint32_t id = it->second;
    Extent& extent = extents_[id];
    move_(base_ + to, base_ + extent.offset, extent.bytes);
    moved_bytes_total_ += extent.bytes;
    extent.offset = to;
    to += extent.bytes;
    it = live_by_offset_.erase(it);
    live_by_offset_.emplace(extent.offset, id);  // before `it`: not met again
  }
  AddFree(to, end - to);
}

}  // namespace kvpareto::kv
