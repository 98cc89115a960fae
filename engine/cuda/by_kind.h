// Tiles that one launch may take together.
#pragma once

#include <algorithm>
#include <vector>

namespace kvpareto::cuda {

// Sorts `parts` by kind(part), keeping the order of equals, and calls launch(first part, items)
// with the members `item` of each kind.
template <typename Part, typename Kind, typename Launch>
void ForEachKind(std::vector<Part>& parts, Kind kind, Launch launch) {
  std::stable_sort(parts.begin(), parts.end(),
                   [&](const Part& a, const Part& b) { return kind(a) < kind(b); });
  std::vector<decltype(Part::item)> items;
  for (size_t first = 0; first < parts.size();) {
    const Part& like = parts[first];
    items.clear();
    while (first < parts.size() && kind(parts[first]) == kind(like)) {
      items.push_back(parts[first++].item);
    }
    launch(like, items);
  }
}

}  // namespace kvpareto::cuda
