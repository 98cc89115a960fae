#include "engine/text/merge_table.h"

namespace kvpareto {

absl::StatusOr<MergeTable> MergeTable::Create(
    const std::vector<std::pair<std::string, std::string>>& merges, const Vocabulary& vocabulary) {
  if (merges.size() > kMaxMerges) return InvalidTokenizer("too many merges");
  MergeTable table;
  table.merges_.reserve(merges.size());
  std::string joined;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    joined.assign(left).append(right);
    const int32_t left_id = vocabulary.Find(left);
    const int32_t right_id = vocabulary.Find(right);
    const int32_t token = vocabulary.Find(joined);
    if (left_id < 0 || right_id < 0 || token < 0) {
      return InvalidTokenizer("merge " + std::to_string(rank) + " ('" + left + "' + '" + right +
                              "') names a token that is not in the vocabulary");
    }
    // A pair that is listed twice has its last rank, as in `tokenizers`.
    table.merges_[Key(left_id, right_id)] = {static_cast<int32_t>(rank), token};
  }
  return table;
}

}  // namespace kvpareto
