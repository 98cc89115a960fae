// Merging with a heap against the definition of BPE.
#include "engine/text/bpe_merger.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <utility>

namespace kvpareto {
namespace {

using Pair = std::pair<int32_t, int32_t>;
using Merges = std::map<Pair, BpeMerge>;

std::optional<BpeMerge> Find(const Merges& merges, int32_t left, int32_t right) {
  const auto it = merges.find({left, right});
  return it == merges.end() ? std::nullopt : std::optional(it->second);
}

// The definition: merges the first pair in the order, the leftmost of equals, until there is none.
std::vector<int32_t> MergeByDefinition(std::vector<int32_t> tokens, const Merges& merges) {
  while (true) {
    std::optional<BpeMerge> first;
    size_t at = 0;
    for (size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto merge = Find(merges, tokens[i], tokens[i + 1]);
      if (!merge || (first && merge->order >= first->order)) continue;
      first = merge;
      at = i;
    }
    if (!first) return tokens;
    tokens[at] = first->token;
    tokens.erase(tokens.begin() + static_cast<ptrdiff_t>(at) + 1);
  }
}

std::vector<int32_t> MergeWithHeap(const std::vector<int32_t>& tokens, const Merges& merges) {
  std::vector<BpeSymbol> symbols;
  for (const int32_t token : tokens) {
    symbols.push_back({.token = token, .begin = static_cast<uint32_t>(symbols.size()), .bytes = 1});
  }
  LinkSymbols(symbols);
  MergeSymbols(symbols, [&](const BpeSymbol& left, const BpeSymbol& right) {
    return Find(merges, left.token, right.token);
  });
  std::vector<int32_t> merged;
  for (const BpeSymbol& symbol : symbols) {
    if (symbol.bytes > 0) merged.push_back(symbol.token);
  }
  return merged;
}

// Tokens 0 and 1, and then `count` merges of earlier tokens, in an order that is not that of their
// numbers; every third one has the order of another.
Merges RandomMerges(int count, std::mt19937* random) {
  Merges merges;
  for (int32_t token = 2; token < 2 + count; ++token) {
    const auto earlier = [&] { return static_cast<int32_t>((*random)() % token); };
    const auto order = static_cast<float>((*random)() % (3 * count) / 3);
    merges.try_emplace({earlier(), earlier()}, BpeMerge{order, token});
  }
  return merges;
}

// In some rounds the heap is full of candidates that have changed, and drops them.
TEST(BpeMergerTest, MergesAsDefined) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const Merges merges = RandomMerges(1 + static_cast<int>(random() % 40), &random);
    std::vector<int32_t> tokens(random() % 200);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 2);
    ASSERT_EQ(MergeWithHeap(tokens, merges), MergeByDefinition(tokens, merges)) << round;
  }
}

}  // namespace
}  // namespace kvpareto
