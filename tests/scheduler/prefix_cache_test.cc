// The structure of the prefix cache, against a simple model of what it must hold.
#include "engine/scheduler/prefix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <vector>

namespace kvpareto {
namespace {

constexpr size_t kUnit = kv::kRegionAlignment;
constexpr int kChunk = 4;                 // tokens: the cache does not care
constexpr size_t kBlocks = 2, kTail = 1;  // units of a node's final bytes, and of its tail

using Tokens = std::vector<int32_t>;

// An arena of `units` with a cache on it, and the sequences that run on it.
class PrefixCacheTest : public ::testing::Test {
 protected:
  void Start(size_t units, PrefixCacheOptions options = {.max_cached_bytes = size_t{1} << 40}) {
    memory_ = std::vector<std::byte>((units + 1) * kUnit);
    auto* base = reinterpret_cast<std::byte*>(
        kv::AlignUp(reinterpret_cast<uintptr_t>(memory_.data()), kUnit));
    arena_ = std::make_unique<kv::Arena>(base, units * kUnit,
                                         [](std::byte*, const std::byte*, size_t) {});
    cache_ = std::make_unique<PrefixCache>(std::move(options), arena_.get());
  }

  PrefixNode* Enter(const std::string& salt = "", bool keep = true) {
    return &cache_->Enter({"default", salt, "config"}, "row", nullptr, keep)->root;
  }

  // Runs one chunk as a sequence does: extents within a promise, then the node. The tail is let go
  // at once, as by a sequence that goes on.
  PrefixNode* Compute(PrefixNode* parent, const Tokens& chunk) {
    EXPECT_TRUE(arena_->Reserve((kBlocks + kTail) * kUnit));
    auto tail = std::make_shared<TailExtent>();
    tail->bytes = kTail * kUnit;
    std::vector<kv::ExtentId> blocks;
    for (size_t i = 0; i < kBlocks; ++i) blocks.push_back(arena_->Allocate(kUnit));
    tail->extent = arena_->Allocate(tail->bytes);
    PrefixNode* node = cache_->Add(parent, {.tokens = chunk,
                                            .sink = std::nullopt,
                                            .blocks = blocks,
                                            .lent_blocks = {},
                                            .tail = {tail}});
    cache_->ReleaseTail(tail.get());
    arena_->Unreserve(kTail * kUnit);  // what is left of the promise
    return node;
  }

  // A sequence that runs the whole prompt, taking over what is there. Returns where it stands.
  PrefixNode* Run(PrefixNode* root, const Tokens& prompt) {
    PrefixNode* node = root;
    if (PrefixNode* hit = cache_->Longest(root, prompt, kChunk)) {
      cache_->Advance(root, hit);
      node = hit;
    }
    for (size_t at = node->end_tokens; at + kChunk <= prompt.size(); at += kChunk) {
      const Tokens chunk(prompt.begin() + at, prompt.begin() + at + kChunk);
      PrefixNode* next = cache_->Child(node, chunk);
      if (next != nullptr) {  // passed through: its tail is gone
        cache_->Advance(node, next);
      } else {
        next = Compute(node, chunk);
      }
      node = next;
    }
    return node;
  }

  void CheckBytes() {
    const kv::ArenaStats stats = arena_->stats();
    ASSERT_EQ(stats.cached_bytes, cache_->cached_bytes());
    ASSERT_EQ(stats.allocated_bytes, cache_->cached_bytes() + cache_->used_bytes());
    ASSERT_EQ(stats.reserved_bytes, cache_->used_bytes());
    size_t used = 0, cached = 0;
    for (const auto& [key, domain] : cache_->domains()) {
      used += domain->used_bytes;
      cached += domain->cached_bytes;
    }
    ASSERT_EQ(used, cache_->used_bytes());
    ASSERT_EQ(cached, cache_->cached_bytes());
  }

  std::vector<std::byte> memory_;
  std::unique_ptr<kv::Arena> arena_;
  std::unique_ptr<PrefixCache> cache_;
};

Tokens Prompt(std::initializer_list<int32_t> chunks) {
  Tokens tokens;
  for (const int32_t chunk : chunks) tokens.insert(tokens.end(), kChunk, chunk);
  return tokens;
}

TEST_F(PrefixCacheTest, FindsTheLongestCommonPrefixOfWholeChunks) {
  Start(100);
  cache_->Leave(Run(Enter(), Prompt({1, 2, 3})));
  PrefixNode* root = Enter();
  EXPECT_EQ(cache_->Longest(root, Prompt({1, 2, 9}), kChunk)->end_tokens, 2 * kChunk);
  EXPECT_EQ(cache_->Longest(root, Prompt({1, 2, 3, 4}), kChunk)->end_tokens, 3 * kChunk);
  Tokens cut = Prompt({1, 2});
  cut.pop_back();
  EXPECT_EQ(cache_->Longest(root, cut, kChunk)->end_tokens, kChunk);
  EXPECT_EQ(cache_->Longest(root, Prompt({2, 3}), kChunk), nullptr) << "not a prefix";
  cache_->Leave(root);
}

TEST_F(PrefixCacheTest, SharedBytesAreCountedOnce) {
  Start(100);
  PrefixNode* first = Run(Enter(), Prompt({1, 2}));
  const size_t used = cache_->used_bytes();
  EXPECT_EQ(used, 2 * kBlocks * kUnit);
  std::vector<PrefixNode*> others;
  for (int i = 0; i < 50; ++i) others.push_back(Run(Enter(), Prompt({1, 2})));
  EXPECT_EQ(cache_->used_bytes(), used);
  EXPECT_EQ(arena_->stats().reserved_bytes, used);
  cache_->Leave(first);
  for (size_t i = 1; i < others.size(); ++i) cache_->Leave(others[i]);
  EXPECT_EQ(cache_->used_bytes(), used) << "one still runs on it";
  cache_->Leave(others[0]);
  EXPECT_EQ(cache_->used_bytes(), 0);
  EXPECT_EQ(cache_->cached_bytes(), used + 2 * kTail * kUnit);
}

TEST_F(PrefixCacheTest, SaltsShareNothing) {
  Start(100);
  PrefixNode* alice = Run(Enter("alice"), Prompt({1, 2}));
  PrefixNode* bob_root = Enter("bob");
  EXPECT_EQ(cache_->Longest(bob_root, Prompt({1, 2}), kChunk), nullptr);
  EXPECT_EQ(cache_->Child(bob_root, Prompt({1})), nullptr);
  PrefixNode* bob = Run(bob_root, Prompt({1, 2}));
  EXPECT_NE(alice, bob);
  cache_->Leave(alice);
  cache_->Leave(bob);
  CheckBytes();
}

TEST_F(PrefixCacheTest, CollisionsAreToldApartByTheTokens) {
  Start(100, {.max_cached_bytes = size_t{1} << 30,
              .hash = [](uint64_t, std::span<const int32_t>) { return uint64_t{42}; }});
  PrefixNode* a = Run(Enter("a"), Prompt({1, 2, 3}));
  PrefixNode* b = Run(Enter("a"), Prompt({2, 2, 3}));
  PrefixNode* c = Run(Enter("c"), Prompt({1, 2, 3}));
  EXPECT_EQ(cache_->used_bytes(), 9 * kBlocks * kUnit) << "nothing is shared";
  PrefixNode* root = Enter("a");
  EXPECT_EQ(cache_->Longest(root, Prompt({1, 2, 3}), kChunk), a);
  EXPECT_EQ(cache_->Longest(root, Prompt({2, 2, 3}), kChunk), b);
  EXPECT_EQ(cache_->Longest(root, Prompt({2, 3}), kChunk)->end_tokens, kChunk);
  for (PrefixNode* node : {a, b, c, root}) cache_->Leave(node);
}

TEST_F(PrefixCacheTest, PromisesEvictWhatIsWorthLeast) {
  // Three prompts of two chunks, 3 x 2 x 3 units, and one to let a tail go while its promise
  // stands.
  Start(19);
  for (const int32_t prompt : {1, 2, 3}) cache_->Leave(Run(Enter(), Prompt({prompt, prompt})));
  EXPECT_EQ(cache_->cached_bytes(), 18 * kUnit);
  ASSERT_TRUE(arena_->Reserve(2 * kUnit));  // evicts a tail: the clock moves
  // The first one is used again: the second is the oldest now.
  cache_->Leave(Run(Enter(), Prompt({1, 1})));
  ASSERT_TRUE(arena_->Reserve(10 * kUnit));
  PrefixNode* root = Enter();
  EXPECT_NE(cache_->Longest(root, Prompt({1, 1}), kChunk), nullptr);
  EXPECT_EQ(cache_->Longest(root, Prompt({2, 2}), kChunk), nullptr);
  EXPECT_GE(cache_->evicted_bytes_total().at("row"), 10 * kUnit);
  ASSERT_TRUE(arena_->Reserve(7 * kUnit));
  EXPECT_EQ(cache_->cached_bytes(), 0) << "a promise can have it all";
  EXPECT_FALSE(arena_->Reserve(kUnit));
  cache_->Leave(root);
  arena_->Unreserve(19 * kUnit);
}

TEST_F(PrefixCacheTest, WhatSomebodyRunsOnIsNotEvicted) {
  Start(12);
  PrefixNode* running = Run(Enter(), Prompt({1, 1}));
  cache_->Leave(Run(Enter(), Prompt({2, 2})));
  EXPECT_TRUE(arena_->Reserve(8 * kUnit)) << "the tails and the other prompt";
  EXPECT_FALSE(arena_->Reserve(kUnit));
  EXPECT_EQ(cache_->used_bytes(), 4 * kUnit);
  EXPECT_EQ(cache_->cached_bytes(), 0);
  EXPECT_EQ(cache_->Longest(running->parent->parent, Prompt({1, 1}), kChunk), nullptr);
  cache_->Leave(running);
  EXPECT_EQ(cache_->cached_bytes(), 4 * kUnit);
  arena_->Unreserve(8 * kUnit);
}

TEST_F(PrefixCacheTest, TheLimitHoldsForWhatNobodyRunsOn) {
  Start(100, {.max_cached_bytes = 7 * kUnit});
  PrefixNode* node = Run(Enter(), Prompt({1, 2, 3, 4, 5}));
  EXPECT_EQ(cache_->used_bytes(), 10 * kUnit);
  cache_->Leave(node);
  EXPECT_LE(cache_->cached_bytes(), 7 * kUnit);
  EXPECT_GT(cache_->cached_bytes(), 0);
}

TEST_F(PrefixCacheTest, AClosedDomainKeepsNothing) {
  Start(100);
  PrefixNode* a = Run(Enter("private", false), Prompt({1, 2, 3}));
  PrefixNode* b = Run(Enter("private", false), Prompt({1, 2, 4}));
  cache_->Leave(a);
  EXPECT_EQ(cache_->used_bytes(), 3 * kBlocks * kUnit);
  cache_->Leave(b);
  EXPECT_EQ(arena_->stats().allocated_bytes, 0);
  EXPECT_TRUE(cache_->domains().empty());
}

// An extent that ends two prefixes (a recent window longer than a chunk) goes with the second.
TEST_F(PrefixCacheTest, TailsMayOverlap) {
  Start(20);
  ASSERT_TRUE(arena_->Reserve(4 * kUnit));
  auto shared = std::make_shared<TailExtent>();
  shared->bytes = kUnit;
  shared->extent = arena_->Allocate(kUnit);
  const Tokens one = Prompt({1}), two = Prompt({2});
  PrefixNode* first = cache_->Add(
      Enter(),
      {.tokens = one, .sink = std::nullopt, .blocks = {}, .lent_blocks = {}, .tail = {shared}});
  PrefixNode* second = cache_->Add(first, {.tokens = two,
                                           .sink = std::nullopt,
                                           .blocks = {arena_->Allocate(kUnit)},
                                           .lent_blocks = {},
                                           .tail = {shared}});
  EXPECT_EQ(cache_->Evict(10 * kUnit), 0) << "held by who fills it";
  cache_->ReleaseTail(shared.get());
  EXPECT_EQ(cache_->cached_bytes(), kUnit);
  EXPECT_EQ(cache_->Evict(kUnit), kUnit);
  EXPECT_FALSE(first->has_tail || second->has_tail);
  cache_->Leave(second);
  arena_->Unreserve(3 * kUnit);
  CheckBytes();
}

TEST_F(PrefixCacheTest, ATailThatHasNoRoomIsFreed) {
  Start(3);
  PrefixNode* node = nullptr;
  {
    ASSERT_TRUE(arena_->Reserve(3 * kUnit));  // all there is, and it stays promised
    auto tail = std::make_shared<TailExtent>();
    tail->bytes = kUnit;
    tail->extent = arena_->Allocate(kUnit);
    const Tokens one = Prompt({1});
    node = cache_->Add(Enter(), {.tokens = one,
                                 .sink = std::nullopt,
                                 .blocks = {arena_->Allocate(kUnit)},
                                 .lent_blocks = {},
                                 .tail = {tail}});
    cache_->ReleaseTail(tail.get());
  }
  EXPECT_FALSE(node->has_tail);
  EXPECT_EQ(arena_->stats().allocated_bytes, kUnit);
  arena_->Unreserve(2 * kUnit);
  cache_->Leave(node);
}

// Random prompts over few tokens come and go in an arena that is too small for all of them.
class PrefixCachePropertyTest : public PrefixCacheTest,
                                public ::testing::WithParamInterface<uint32_t> {};

TEST_P(PrefixCachePropertyTest, HoldsWhatRunsAndNoByteMore) {
  std::mt19937 random(GetParam());
  const auto pick = [&](size_t max) {
    return std::uniform_int_distribution<size_t>(0, max)(random);
  };
  const size_t units = 60 + pick(100);
  // Half of the walks with a hash that collides a lot.
  PrefixCacheOptions options{.max_cached_bytes = (units / 2 + pick(units)) * kUnit};
  if (GetParam() % 2 == 0) {
    options.hash = [](uint64_t parent, std::span<const int32_t> tokens) {
      return (parent + (tokens.empty() ? 1 : tokens[0])) % 3;
    };
  }
  Start(units, options);
  struct Running {
    PrefixNode* node;
    std::string salt;
    Tokens prompt;
  };
  std::deque<Running> running;
  uint64_t hits = 0;
  for (int step = 0; step < 3000; ++step) {
    const size_t action = pick(9);
    if (action < 5 && running.size() < 6) {
      Running next{.node = nullptr, .salt = std::string(1, 'a' + pick(1)), .prompt = {}};
      for (size_t chunks = 1 + pick(4); chunks > 0; --chunks) {
        next.prompt.insert(next.prompt.end(), kChunk, static_cast<int32_t>(pick(2)));
      }
      PrefixNode* root = Enter(next.salt);
      if (const PrefixNode* hit = cache_->Longest(root, next.prompt, kChunk)) {
        ++hits;
        ASSERT_TRUE(hit->has_tail);
        for (const PrefixNode* node = hit; node->parent != nullptr; node = node->parent) {
          ASSERT_TRUE(std::equal(node->tokens.begin(), node->tokens.end(),
                                 next.prompt.begin() + node->end_tokens - kChunk));
          ASSERT_EQ(node->domain->key.salt, next.salt);
          ASSERT_EQ(node->blocks.size(), kBlocks);
        }
      }
      next.node = Run(root, next.prompt);
      ASSERT_EQ(next.node->end_tokens, next.prompt.size());
      running.push_back(next);
    } else if (action < 8 && !running.empty()) {
      const size_t i = pick(running.size() - 1);
      cache_->Leave(running[i].node);
      running.erase(running.begin() + i);
    } else if (action == 8) {
      const size_t bytes = pick(units / 4) * kUnit;
      const kv::ArenaStats stats = arena_->stats();
      const bool fits = bytes <= stats.capacity_bytes - stats.reserved_bytes;
      ASSERT_EQ(arena_->Reserve(bytes), fits);
      if (fits) arena_->Unreserve(bytes);
    } else {
      cache_->Evict(pick(10) * kUnit);
    }
    cache_->Trim();
    // Every distinct prefix that somebody runs on, once.
    std::map<std::pair<std::string, Tokens>, bool> distinct;
    for (const Running& sequence : running) {
      for (size_t end = kChunk; end <= sequence.prompt.size(); end += kChunk) {
        distinct[{sequence.salt, Tokens(sequence.prompt.begin(), sequence.prompt.begin() + end)}] =
            true;
      }
    }
    ASSERT_EQ(cache_->used_bytes(), distinct.size() * kBlocks * kUnit);
    ASSERT_LE(cache_->cached_bytes(), options.max_cached_bytes);
    CheckBytes();
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(hits, 100u) << "the walk must meet what it is about";
  EXPECT_GT(cache_->evicted_bytes_total().at("row"), 0u);
  for (const Running& sequence : running) cache_->Leave(sequence.node);
  cache_->Evict(~size_t{0} / 2);
  EXPECT_EQ(arena_->stats().allocated_bytes, 0u);
  EXPECT_TRUE(cache_->domains().empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, PrefixCachePropertyTest, ::testing::Range(1u, 17u));

}  // namespace
}  // namespace kvpareto
