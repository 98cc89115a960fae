#include "engine/kv/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <vector>

namespace kvpareto::kv {
namespace {

constexpr size_t kUnit = kRegionAlignment;

struct Memory {
  explicit Memory(size_t bytes)
      : data(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kUnit}))) {}
  ~Memory() { ::operator delete (data, std::align_val_t{kUnit}); }
  std::byte* data;
};

Arena MakeArena(const Memory& memory, size_t capacity) {
  return Arena(memory.data, capacity,
               [&memory, capacity](std::byte* to, const std::byte* from, size_t bytes) {
                 EXPECT_LT(to, from);
                 EXPECT_GE(to, memory.data);
                 EXPECT_LE(from + bytes, memory.data + capacity);
                 std::memmove(to, from, bytes);
               });
}

TEST(ArenaTest, PromisesAreBoundedByTheCapacity) {
  Memory memory(10 * kUnit);
  Arena arena = MakeArena(memory, 10 * kUnit);
  EXPECT_TRUE(arena.Reserve(6 * kUnit));
  EXPECT_FALSE(arena.Reserve(5 * kUnit));
  EXPECT_FALSE(arena.Reserve(~size_t{0}));
  EXPECT_TRUE(arena.Reserve(4 * kUnit));
  EXPECT_FALSE(arena.Reserve(kUnit));
  EXPECT_TRUE(arena.Reserve(0));
  arena.Unreserve(4 * kUnit);
  EXPECT_TRUE(arena.Reserve(kUnit));
  EXPECT_EQ(arena.stats().reserved_bytes, 7 * kUnit);
}

TEST(ArenaTest, TakesTheSmallestStretchThatFits) {
  Memory memory(20 * kUnit);
  Arena arena = MakeArena(memory, 20 * kUnit);
  ASSERT_TRUE(arena.Reserve(20 * kUnit));
  std::vector<ExtentId> ids;
  for (size_t units : {5, 1, 3, 1, 10}) ids.push_back(arena.Allocate(units * kUnit));
  arena.Free(ids[0]);
  arena.Free(ids[2]);
  const ExtentId fits = arena.Allocate(3 * kUnit);
  EXPECT_EQ(arena.Address(fits), memory.data + 6 * kUnit);
  EXPECT_EQ(arena.stats().moved_bytes_total, 0);
}

TEST(ArenaTest, CompactionMovesTheFewestBytes) {
  Memory memory(16 * kUnit);
  Arena arena = MakeArena(memory, 16 * kUnit);
  ASSERT_TRUE(arena.Reserve(16 * kUnit));
  // [1 free][6 live][1 free][1 live][1 free][6 live]
  std::vector<ExtentId> ids;
  for (size_t units : {1, 6, 1, 1, 1, 6}) {
    ids.push_back(arena.Allocate(units * kUnit));
    std::memset(arena.Address(ids.back()), static_cast<int>(ids.size()), units * kUnit);
  }
  for (int i : {0, 2, 4}) arena.Free(ids[i]);
  EXPECT_EQ(arena.stats().largest_free_bytes, kUnit);
  const ExtentId two = arena.Allocate(2 * kUnit);
  EXPECT_EQ(arena.stats().moved_bytes_total, kUnit);
  EXPECT_EQ(arena.Address(ids[3]), memory.data + 7 * kUnit);
  EXPECT_EQ(arena.Address(two), memory.data + 8 * kUnit);
  EXPECT_EQ(*arena.Address(ids[3]), std::byte{4});
  EXPECT_EQ(*arena.Address(ids[5]), std::byte{6});
}

TEST(ArenaTest, AllMemoryIsUsableWhateverTheMix) {
  constexpr size_t kCapacity = 1000 * kUnit;
  Memory memory(kCapacity);
  Arena arena = MakeArena(memory, kCapacity);
  ASSERT_TRUE(arena.Reserve(kCapacity));
  std::vector<ExtentId> ones;
  for (int i = 0; i < 1000; ++i) ones.push_back(arena.Allocate(kUnit));
  for (int i = 0; i < 1000; i += 2) arena.Free(ones[i]);  // the worst scattering there is
  EXPECT_EQ(arena.stats().largest_free_bytes, kUnit);
  const ExtentId half = arena.Allocate(500 * kUnit);
  EXPECT_EQ(arena.Bytes(half), 500 * kUnit);
  EXPECT_EQ(arena.stats().allocated_bytes, kCapacity);
  EXPECT_EQ(arena.stats().largest_free_bytes, 0);
}

TEST(ArenaTest, CachedBytesGiveWayToPromises) {
  Memory memory(10 * kUnit);
  Arena arena = MakeArena(memory, 10 * kUnit);
  std::vector<ExtentId> cached;  // oldest first
  size_t reclaims = 0;
  arena.SetReclaim([&](size_t bytes) {
    ++reclaims;
    for (size_t evicted = 0; evicted < bytes && !cached.empty(); evicted += kUnit) {
      arena.Evict(cached.front());
      cached.erase(cached.begin());
    }
  });
  ASSERT_TRUE(arena.Reserve(6 * kUnit));
  for (int i = 0; i < 6; ++i) cached.push_back(arena.Allocate(kUnit));
  arena.Retain(6 * kUnit);
  EXPECT_EQ(arena.stats().reserved_bytes, 0);
  EXPECT_EQ(arena.stats().cached_bytes, 6 * kUnit);
  EXPECT_EQ(arena.stats().allocated_bytes, 6 * kUnit);

  EXPECT_TRUE(arena.Reserve(4 * kUnit));  // beside them
  EXPECT_EQ(reclaims, 0);
  EXPECT_TRUE(arena.Reserve(4 * kUnit));  // in the place of four
  EXPECT_EQ(reclaims, 1);
  EXPECT_EQ(arena.stats().cached_bytes, 2 * kUnit);
  arena.Reuse(kUnit);
  EXPECT_FALSE(arena.Reserve(2 * kUnit)) << "one is in use again: 9 of 10 are promised";
  EXPECT_EQ(arena.Bytes(arena.Allocate(8 * kUnit)), 8 * kUnit) << "what was promised is there";
}

TEST(ArenaTest, CopiesBetweenExtentsOfOneSize) {
  Memory memory(4 * kUnit);
  Arena arena(memory.data, 4 * kUnit, [](std::byte* to, const std::byte* from, size_t bytes) {
    std::memmove(to, from, bytes);
  });
  ASSERT_TRUE(arena.Reserve(4 * kUnit));
  const ExtentId first = arena.Allocate(kUnit), second = arena.Allocate(kUnit);
  std::memset(arena.Address(first), 7, kUnit);
  arena.Copy(first, second);
  EXPECT_EQ(std::memcmp(arena.Address(first), arena.Address(second), kUnit), 0);
  const ExtentId larger = arena.Allocate(2 * kUnit);
  EXPECT_DEATH(arena.Copy(first, larger), "check failed");
}

TEST(ArenaTest, ShrinkingFreesTheEnd) {
  Memory memory(10 * kUnit);
  Arena arena = MakeArena(memory, 10 * kUnit);
  ASSERT_TRUE(arena.Reserve(10 * kUnit));
  const ExtentId first = arena.Allocate(6 * kUnit), second = arena.Allocate(kUnit);
  arena.Free(arena.Allocate(3 * kUnit));
  arena.Shrink(first, 2 * kUnit);
  EXPECT_EQ(arena.Bytes(first), 2 * kUnit);
  EXPECT_EQ(arena.stats().allocated_bytes, 3 * kUnit);
  EXPECT_EQ(arena.stats().largest_free_bytes, 4 * kUnit);
  arena.Free(second);
  EXPECT_EQ(arena.stats().largest_free_bytes, 8 * kUnit) << "free neighbours are one stretch";
  EXPECT_DEATH(arena.Shrink(first, 3 * kUnit), "check failed");
}

TEST(ArenaTest, EmptyArena) {
  Memory memory(kUnit);
  Arena arena = MakeArena(memory, kUnit - 1);  // less than one aligned region
  EXPECT_EQ(arena.stats().capacity_bytes, 0);
  EXPECT_FALSE(arena.Reserve(kUnit));
}

// Requests of random size come, allocate within their promise, free and go; every byte of every
// extent is checked against a model that keeps its own copies.
class ArenaPropertyTest : public testing::TestWithParam<uint32_t> {
 protected:
  struct Owned {
    uint8_t fill = 0;
    size_t bytes = 0;
    int request = 0;
  };
  struct Request {
    size_t promised = 0;
    size_t used = 0;
  };

  size_t Pick(size_t low, size_t high) {
    return std::uniform_int_distribution<size_t>(low, high)(random_);
  }

  void CheckAll(const Arena& arena, const std::byte* base) {
    size_t sum = 0;
    std::vector<std::pair<const std::byte*, size_t>> ranges;
    for (const auto& [id, owned] : model_) {
      const std::byte* data = arena.Address(id);
      ASSERT_EQ(arena.Bytes(id), owned.bytes);
      ASSERT_TRUE(std::all_of(data, data + owned.bytes,
                              [&](std::byte b) { return b == std::byte{owned.fill}; }));
      ranges.emplace_back(data, owned.bytes);
      sum += owned.bytes;
    }
    std::sort(ranges.begin(), ranges.end());
    ranges.emplace_back(base + arena.stats().capacity_bytes, 0);
    const std::byte* end = base;
    size_t largest_gap = 0;
    for (const auto& [data, bytes] : ranges) {
      ASSERT_LE(end, data) << "overlap";
      largest_gap = std::max<size_t>(largest_gap, data - end);
      end = data + bytes;
    }
    const ArenaStats stats = arena.stats();
    ASSERT_EQ(stats.allocated_bytes, sum);
    ASSERT_EQ(stats.extents, static_cast<int>(model_.size()));
    ASSERT_EQ(stats.largest_free_bytes, largest_gap) << "free neighbours are one stretch";
  }

  std::mt19937 random_{GetParam()};
  std::map<ExtentId, Owned> model_;
  std::map<int, Request> requests_;
};

TEST_P(ArenaPropertyTest, EveryAllocationWithinAPromiseSucceedsAndKeepsItsBytes) {
  const size_t capacity = Pick(20, 400) * kUnit;
  Memory memory(capacity);
  Arena arena = MakeArena(memory, capacity);
  int next_request = 0;
  size_t promised = 0;
  for (int step = 0; step < 20000; ++step) {
    const size_t action = Pick(0, 199);  // more comes than goes: the arena is mostly full
    if (action < 20) {
      const size_t bytes = Pick(1, capacity / kUnit / 3) * kUnit;
      const bool fits = promised + bytes <= capacity;
      ASSERT_EQ(arena.Reserve(bytes), fits);
      if (fits) {
        requests_[next_request++] = {bytes, 0};
        promised += bytes;
      }
    } else if (action < 150 && !requests_.empty()) {
      auto it = std::next(requests_.begin(), Pick(0, requests_.size() - 1));
      Request& request = it->second;
      const size_t room = (request.promised - request.used) / kUnit;
      if (room == 0) continue;
      const size_t bytes = Pick(1, std::min<size_t>(room, Pick(0, 3) == 0 ? 32 : 4)) * kUnit;
      const ExtentId id = arena.Allocate(bytes);
      ASSERT_FALSE(model_.contains(id)) << "handle in use";
      ASSERT_EQ((arena.Address(id) - memory.data) % kUnit, 0);
      const Owned owned = {static_cast<uint8_t>(Pick(0, 255)), bytes, it->first};
      std::memset(arena.Address(id), owned.fill, bytes);
      model_[id] = owned;
      request.used += bytes;
    } else if (action < 199 && !model_.empty()) {
      auto it = std::next(model_.begin(), Pick(0, model_.size() - 1));
      requests_[it->second.request].used -= it->second.bytes;
      arena.Free(it->first);
      model_.erase(it);
    } else if (action == 199 && !requests_.empty()) {
      auto it = std::next(requests_.begin(), Pick(0, requests_.size() - 1));
      std::erase_if(model_, [&](const auto& entry) {
        if (entry.second.request != it->first) return false;
        arena.Free(entry.first);
        return true;
      });
      arena.Unreserve(it->second.promised);
      promised -= it->second.promised;
      requests_.erase(it);
    }
    if (step % 16 == 0) CheckAll(arena, memory.data);
    if (HasFatalFailure()) return;
    ASSERT_EQ(arena.stats().reserved_bytes, promised);
  }
  // The walk must have met what it is about.
  EXPECT_GT(arena.stats().moved_bytes_total, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ArenaPropertyTest, testing::Range(1u, 21u));

TEST(ArenaDeathTest, BrokenPromisesAreCaught) {
  Memory memory(10 * kUnit);
  Arena arena = MakeArena(memory, 10 * kUnit);
  EXPECT_DEATH(arena.Allocate(kUnit), "check failed");  // nothing reserved
  ASSERT_TRUE(arena.Reserve(2 * kUnit));
  EXPECT_DEATH(arena.Allocate(1), "check failed");
  const ExtentId id = arena.Allocate(kUnit);
  EXPECT_DEATH(arena.Unreserve(2 * kUnit), "still allocated");
  arena.Free(id);
  EXPECT_DEATH(arena.Free(id), "check failed");
  EXPECT_DEATH(arena.Retain(kUnit), "check failed");  // nothing allocated
  EXPECT_DEATH(arena.Reuse(kUnit), "check failed");   // nothing cached
  EXPECT_DEATH((void)arena.Address(id), "check failed");
}

}  // namespace
}  // namespace kvpareto::kv
