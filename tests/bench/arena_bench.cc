// The arena under a mixed load of KV configs: cost of an allocation, bytes that compaction moves,
// and how much of the memory is usable, against size-class slabs (each block size owns fixed-size
// slabs of its own, as paged caches of one format do).
//
//   arena_bench [--benchmark_filter=...]

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <unordered_map>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/kv/block_layout.h"

namespace kvpareto::kv {
namespace {

constexpr size_t kCapacityBytes = size_t{512} << 20;

// Block sizes of the shape of SmolLM2-135M (30 layers, 3 KV heads of 64) under its usual configs.
std::vector<size_t> SealedBlockSizes() {
  std::vector<size_t> sizes;
  for (const auto& [k, v] : {std::pair{"int8-token", "int8-token"},
                             {"int8-token", "int4-token"},
                             {"int4-channel", "int4-token"},
                             {"int4-channel", "int2-token"},
                             {"int2-channel", "int2-token-g32"}}) {
    const std::vector<LayerCodecs> layers(30, LayerCodecs{*FindCodec(k), *FindCodec(v)});
    sizes.push_back(BlockLayout(layers, 3, 64).bytes());
  }
  return sizes;
}
size_t Bf16BlockSize() { return BlockLayout::Bf16(30, 3, 64).bytes(); }

// The baseline: slabs are handed to one block size each and come back when empty.
class SlabAllocator {
 public:
  using Handle = uint64_t;  // slab << 32 | slot; sizes are per slab

  SlabAllocator(size_t capacity_bytes, size_t slab_bytes)
      : slab_bytes_(slab_bytes), slabs_(capacity_bytes / slab_bytes) {
    for (size_t i = slabs_.size(); i-- > 0;) empty_.push_back(static_cast<uint32_t>(i));
  }

  // Whether there was room; false although enough bytes are free is what classes cost.
  bool Allocate(size_t bytes, Handle& handle) {
    std::vector<uint32_t>& open = open_[bytes];
    if (open.empty()) {
      if (empty_.empty()) return false;
      open.push_back(empty_.back());
      empty_.pop_back();
      Slab& slab = slabs_[open.back()];
      slab.block_bytes = bytes;
      slab.free_slots.resize(slab_bytes_ / bytes);
      for (size_t i = 0; i < slab.free_slots.size(); ++i) slab.free_slots[i] = i;
    }
    const uint32_t index = open.back();
    Slab& slab = slabs_[index];
    handle = uint64_t{index} << 32 | slab.free_slots.back();
    slab.free_slots.pop_back();
    if (slab.free_slots.empty()) open.pop_back();
    return true;
  }

  void Free(Handle handle) {
    const auto index = static_cast<uint32_t>(handle >> 32);
    Slab& slab = slabs_[index];
    std::vector<uint32_t>& open = open_[slab.block_bytes];
    if (slab.free_slots.empty()) open.push_back(index);
    slab.free_slots.push_back(static_cast<uint32_t>(handle));
    if (slab.free_slots.size() == slab_bytes_ / slab.block_bytes) {
      open.erase(std::find(open.begin(), open.end(), index));
      empty_.push_back(index);
    }
  }

 private:
  struct Slab {
    size_t block_bytes = 0;
    std::vector<uint32_t> free_slots;
  };
  size_t slab_bytes_;
  std::vector<Slab> slabs_;
  std::vector<uint32_t> empty_;
  std::unordered_map<size_t, std::vector<uint32_t>> open_;
};

class ArenaAllocator {
 public:
  using Handle = ExtentId;
  // Refuses beyond `limit_bytes`. Without `compacts`, scattered memory refuses, too: plain best
  // fit.
  ArenaAllocator(std::byte* base, size_t capacity_bytes, size_t limit_bytes, bool compacts)
      : limit_bytes_(limit_bytes),
        compacts_(compacts),
        arena_(base, capacity_bytes, [](std::byte* to, const std::byte* from, size_t bytes) {
          std::memmove(to, from, bytes);
        }) {
    (void)arena_.Reserve(capacity_bytes);
  }
  bool Allocate(size_t bytes, Handle& handle) {
    const ArenaStats stats = arena_.stats();
    if (stats.allocated_bytes + bytes > limit_bytes_) return false;
    if (!compacts_ && stats.largest_free_bytes < bytes) return false;
    handle = arena_.Allocate(bytes);
    return true;
  }
  void Free(Handle handle) { arena_.Free(handle); }
  uint64_t moved_bytes() const { return arena_.stats().moved_bytes_total; }

 private:
  size_t limit_bytes_;
  bool compacts_;
  Arena arena_;
};

// Sequences of random length and config come as long as there is room, grow block by block (a bf16
// block is opened, then sealed into a smaller one), and leave.
template <typename Allocator>
class Load {
 public:
  explicit Load(Allocator& allocator) : allocator_(allocator) {}

  // One block of some sequence. When the allocator says no, a random sequence ends.
  void Step() {
    if (sequences_.size() < 48) sequences_.push_back(NewSequence());
    const size_t index = Pick(0, sequences_.size() - 1);
    Sequence& sequence = sequences_[index];
    Handle handle;
    if (sequence.has_open) {
      if (!TryAllocate(sequence.sealed_bytes, handle)) return End(Pick(0, sequences_.size() - 1));
      sequence.blocks.push_back(handle);
      allocator_.Free(sequence.open);
      live_bytes_ -= bf16_bytes_;
      sequence.has_open = false;
      if (sequence.blocks.size() >= sequence.max_blocks) End(index);
    } else {
      if (!TryAllocate(bf16_bytes_, handle)) return End(Pick(0, sequences_.size() - 1));
      sequence.open = handle;
      sequence.has_open = true;
    }
  }

  uint64_t allocations() const { return allocations_; }
  // Bytes in use when an allocation was refused, averaged over the refusals.
  double full_bytes() const { return refusals_ == 0 ? 0.0 : full_bytes_sum_ / refusals_; }

 private:
  using Handle = typename Allocator::Handle;
  struct Sequence {
    size_t sealed_bytes = 0;
    size_t max_blocks = 0;
    std::vector<Handle> blocks;
    Handle open{};
    bool has_open = false;
  };

  size_t Pick(size_t low, size_t high) {
    return std::uniform_int_distribution<size_t>(low, high)(random_);
  }
  Sequence NewSequence() {
    Sequence sequence;
    sequence.sealed_bytes = sizes_[Pick(0, sizes_.size() - 1)];
    sequence.max_blocks = Pick(4, 128);  // 256 to 8k tokens
    return sequence;
  }
  bool TryAllocate(size_t bytes, Handle& handle) {
    if (allocator_.Allocate(bytes, handle)) {
      ++allocations_;
      live_bytes_ += bytes;
      return true;
    }
    full_bytes_sum_ += static_cast<double>(live_bytes_);
    ++refusals_;
    return false;
  }
  void End(size_t index) {
    Sequence& sequence = sequences_[index];
    for (Handle block : sequence.blocks) allocator_.Free(block);
    live_bytes_ -= sequence.blocks.size() * sequence.sealed_bytes;
    if (sequence.has_open) {
      allocator_.Free(sequence.open);
      live_bytes_ -= bf16_bytes_;
    }
    std::swap(sequence, sequences_.back());
    sequences_.pop_back();
  }

  Allocator& allocator_;
  const std::vector<size_t> sizes_ = SealedBlockSizes();
  const size_t bf16_bytes_ = Bf16BlockSize();
  std::mt19937 random_{1};
  std::vector<Sequence> sequences_;
  size_t live_bytes_ = 0;
  uint64_t allocations_ = 0;
  uint64_t refusals_ = 0;
  double full_bytes_sum_ = 0.0;
};

template <typename Allocator>
void Report(benchmark::State& state, const Load<Allocator>& load) {
  state.SetItemsProcessed(static_cast<int64_t>(load.allocations()));
  state.counters["usable_percent"] = 100.0 * load.full_bytes() / kCapacityBytes;
}

// Arguments: percent of the memory that may be allocated; whether the arena may compact.
void BM_MixedLoadArena(benchmark::State& state) {
  std::byte* memory = new (std::align_val_t{kRegionAlignment}) std::byte[kCapacityBytes];
  std::memset(memory, 1, kCapacityBytes);  // touched: moves cost what they cost
  ArenaAllocator allocator(memory, kCapacityBytes, kCapacityBytes / 100 * state.range(0),
                           state.range(1) != 0);
  Load load(allocator);
  for (auto _ : state) load.Step();
  Report(state, load);
  state.counters["moved_bytes_per_allocation"] =
      static_cast<double>(allocator.moved_bytes()) / static_cast<double>(load.allocations());
  ::operator delete[](memory, std::align_val_t{kRegionAlignment});
}
BENCHMARK(BM_MixedLoadArena)
    ->ArgsProduct({{80, 90, 95, 99, 100}, {1}})
    ->Args({100, 0})
    ->ArgNames({"limit_percent", "compacts"})
    ->Iterations(50000)
    ->Unit(benchmark::kMicrosecond);

// Argument: MiB of a slab.
void BM_MixedLoadSlabs(benchmark::State& state) {
  SlabAllocator allocator(kCapacityBytes, static_cast<size_t>(state.range(0)) << 20);
  Load load(allocator);
  for (auto _ : state) load.Step();
  Report(state, load);
}
BENCHMARK(BM_MixedLoadSlabs)
    ->Arg(2)
    ->Arg(4)
    ->Arg(16)
    ->Arg(64)
    ->Iterations(50000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace kvpareto::kv

BENCHMARK_MAIN();
