// BPE merges in rank order, by the ids of the two parts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/status.h"
#include "engine/text/bpe_merger.h"
#include "engine/text/vocabulary.h"

namespace kvpareto {

// Immutable and thread-safe.
class MergeTable {
 public:
  // Errors: INVALID_ARGUMENT (TOKENIZER_INVALID) for a merge whose parts or result are no tokens,
  // and for more than kMaxMerges.
  static absl::StatusOr<MergeTable> Create(
      const std::vector<std::pair<std::string, std::string>>& merges, const Vocabulary& vocabulary);

  std::optional<BpeMerge> Find(int32_t left, int32_t right) const {
    const auto it = merges_.find(Key(left, right));
    if (it == merges_.end()) return std::nullopt;
    return BpeMerge{static_cast<float>(it->second.rank), it->second.token};
  }

 private:
  struct Entry {
    int32_t rank = 0;
    int32_t token = -1;
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
           static_cast<uint32_t>(right);
  }

  absl::flat_hash_map<uint64_t, Entry> merges_;
};

}  // namespace kvpareto
