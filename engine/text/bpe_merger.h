// Byte-pair merging of one word, whatever decides which pair comes first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
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
  float order = 0.0f;  // smaller merges first; equal: the leftmost
  int32_t token = -1;  // the result
};

// Above it, not every rank is a float of its own.
inline constexpr size_t kMaxMerges = size_t{1} << 24;

// Links `symbols` in their order. Call once, before MergeSymbols.
inline void LinkSymbols(std::vector<BpeSymbol>& symbols) {
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    symbols[i].previous = i - 1;
    symbols[i].next = i + 1 < count ? i + 1 : -1;
  }
}

// Merges neighbours in the order that `find(left, right) -> optional<BpeMerge>` gives, until none
// is left. O(n log n): every merge adds at most two candidates to a heap. Takes at most 36 bytes
// for each symbol, those of `symbols` included.
template <typename FindMerge>
class SymbolMerger {
 public:
  SymbolMerger(std::vector<BpeSymbol>& symbols, const FindMerge& find)
      : symbols_(symbols), find_(find) {}

  void Run() {
    heap_.reserve(symbols_.size());
    for (int32_t i = 0; i < static_cast<int32_t>(symbols_.size()); ++i) {
      if (const auto candidate = Find(i)) heap_.push_back(*candidate);
    }
    std::make_heap(heap_.begin(), heap_.end());
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end());
      const Candidate first = heap_.back();
      heap_.pop_back();
      if (!IsCurrent(first)) continue;
      Merge(first);
      Push(symbols_[first.left].previous);
      Push(first.left);
    }
  }

 private:
  struct Candidate {
    float order;
    int32_t left;
    uint32_t bytes;  // of left and its right neighbour when the candidate was made
    int32_t token;

    bool operator<(const Candidate& other) const {  // the largest is on top of the heap
      return order != other.order ? order > other.order : left > other.left;
    }
  };

  std::optional<Candidate> Find(int32_t left) const {
    if (left < 0 || symbols_[left].next < 0) return std::nullopt;
    const BpeSymbol& right = symbols_[symbols_[left].next];
    const std::optional<BpeMerge> merge = find_(symbols_[left], right);
    if (!merge) return std::nullopt;
    return Candidate{merge->order, left, symbols_[left].bytes + right.bytes, merge->token};
  }

  // What a symbol and its right neighbour cover together only grows: the same length, the same two.
  bool IsCurrent(const Candidate& candidate) const {
    const BpeSymbol& left = symbols_[candidate.left];
    return left.bytes > 0 && left.next >= 0 &&
           left.bytes + symbols_[left.next].bytes == candidate.bytes;
  }

  void Merge(const Candidate& candidate) {
    BpeSymbol& left = symbols_[candidate.left];
    BpeSymbol& right = symbols_[left.next];
    left.token = candidate.token;
    left.bytes = candidate.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) symbols_[left.next].previous = candidate.left;
  }

  // There are fewer current candidates than symbols, and each merge leaves one symbol less: to drop
  // the others whenever the heap is full keeps it small and happens O(log n) times.
  void Push(int32_t left) {
    const auto candidate = Find(left);
    if (!candidate) return;
    if (heap_.size() == heap_.capacity()) {
      std::erase_if(heap_, [this](const Candidate& old) { return !IsCurrent(old); });
      std::make_heap(heap_.begin(), heap_.end());
    }
    heap_.push_back(*candidate);
    std::push_heap(heap_.begin(), heap_.end());
  }

  std::vector<BpeSymbol>& symbols_;
  const FindMerge& find_;
  std::vector<Candidate> heap_;
};

// Symbol 0 always survives.
template <typename FindMerge>
void MergeSymbols(std::vector<BpeSymbol>& symbols, const FindMerge& find) {
  SymbolMerger<FindMerge>(symbols, find).Run();
}

}  // namespace kvpareto
