// Byte-pair merging of one word, whatever decides which pair comes first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

namespace kvpareto {

// A word being merged: a doubly linked list of symbols over an array.
struct BpeSymbol {
  int32_t token = -1;  // -1: not in the vocabulary
  uint32_t begin = 0;  // bytes of the word that the symbol covers
  uint32_t bytes = 0;  // 0: merged into its left neighbour
  int32_t previous = -1;
  int32_t next = -1;
};

struct BpeMerge {
  double order = 0.0;  // smaller merges first; equal: the leftmost
  int32_t token = -1;  // the result
};

// Links `symbols` in their order. Call once, before MergeSymbols.
inline void LinkSymbols(std::vector<BpeSymbol>& symbols) {
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < count ? i + 1 : -1;
  }
}

// Merges neighbours in the order that `find(left, right) -> optional<BpeMerge>` gives, until none
// is left. O(n log n): every merge adds at most two candidates to a heap; candidates whose symbols
// have changed since are recognised by their length. Symbol 0 always survives.
template <typename FindMerge>
void MergeSymbols(std::vector<BpeSymbol>& symbols, const FindMerge& find) {
  struct Candidate {
    double order;
    int32_t left;
    int32_t right;
    uint32_t bytes;  // of both when the candidate was made
    int32_t token;

    bool operator<(const Candidate& other) const {  // priority_queue: the largest is on top
      return order != other.order ? order > other.order : left > other.left;
    }
  };
  std::vector<Candidate> initial;
  const auto make = [&](int32_t left) -> std::optional<Candidate> {
    if (left < 0 || symbols[left].next < 0) return std::nullopt;
    const int32_t right = symbols[left].next;
    const std::optional<BpeMerge> merge = find(symbols[left], symbols[right]);
    if (!merge) return std::nullopt;
    return Candidate{merge->order, left, right, symbols[left].bytes + symbols[right].bytes,
                     merge->token};
  };
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols.size()); ++i) {
    if (const auto candidate = make(i)) initial.push_back(*candidate);
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>(), std::move(initial));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    BpeSymbol& left = symbols[top.left];
    BpeSymbol& right = symbols[top.right];
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != top.bytes) continue;
    left.token = top.token;
    left.bytes = top.bytes;
    right.bytes = 0;
    left.next = right.next;
    if (right.next >= 0) symbols[right.next].previous = top.left;
    if (const auto candidate = make(left.previous)) queue.push(*candidate);
    if (const auto candidate = make(top.left)) queue.push(*candidate);
  }
}

}  // namespace kvpareto
