// Splits out tokens that are matched as text before any other processing.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace kvpareto {

// A set of literal tokens. Immutable once filled.
class AddedTokens {
 public:
  void Add(std::string_view text, int32_t token);

  struct Match {
    size_t begin = 0;
    size_t end = 0;  // begin == end: none
    int32_t token = -1;
  };
  // The leftmost match in `text` at or after `from`; of those that start there, the longest.
  Match Find(std::string_view text, size_t from) const;

 private:
  int Child(int node, char c) const;

  // A trie: node 0 is the root; edges by (node, byte).
  absl::flat_hash_map<uint64_t, int> edges_;
  std::vector<int32_t> token_of_node_ = {-1};
  bool starts_[256] = {};  // whether a token starts with this byte: most positions end here
};

}  // namespace kvpareto
