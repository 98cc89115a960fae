#include "autotuner/pareto_rank.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace kvpareto::tune {

bool Dominates(const Costs& a, const Costs& b) {
  bool better = false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] > b[i]) return false;
    better = better || a[i] < b[i];
  }
  return better;
}

std::vector<int> NonDominatedRanks(const std::vector<Costs>& candidates) {
  constexpr int kUnranked = -1;
  std::vector<int> ranks(candidates.size(), kUnranked);
  size_t left = candidates.size();
  for (int rank = 0; left > 0; ++rank) {
    std::vector<size_t> front;
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (ranks[i] != kUnranked) continue;
      bool dominated = false;
      for (size_t j = 0; j < candidates.size() && !dominated; ++j) {
        dominated = ranks[j] == kUnranked && Dominates(candidates[j], candidates[i]);
      }
      if (!dominated) front.push_back(i);
    }
    for (size_t i : front) ranks[i] = rank;
    left -= front.size();
  }
  return ranks;
}

std::vector<double> CrowdingDistances(const std::vector<Costs>& candidates,
                                      const std::vector<int>& ranks) {
  std::vector<double> distances(candidates.size(), 0.0);
  const size_t objectives = candidates.empty() ? 0 : candidates.front().size();
  const int last = ranks.empty() ? -1 : *std::max_element(ranks.begin(), ranks.end());
  for (int rank = 0; rank <= last; ++rank) {
    std::vector<size_t> front;
    for (size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i] == rank) front.push_back(i);
    }
    for (size_t o = 0; o < objectives; ++o) {
      std::stable_sort(front.begin(), front.end(),
                       [&](size_t a, size_t b) { return candidates[a][o] < candidates[b][o]; });
      const double range = candidates[front.back()][o] - candidates[front.front()][o];
      distances[front.front()] = distances[front.back()] = std::numeric_limits<double>::infinity();
      if (!(range > 0.0)) continue;
      for (size_t i = 1; i + 1 < front.size(); ++i) {
        distances[front[i]] += (candidates[front[i + 1]][o] - candidates[front[i - 1]][o]) / range;
      }
    }
  }
  return distances;
}

std::vector<size_t> BestByRank(const std::vector<Costs>& candidates, size_t count) {
  const std::vector<int> ranks = NonDominatedRanks(candidates);
  const std::vector<double> distances = CrowdingDistances(candidates, ranks);
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return ranks[a] != ranks[b] ? ranks[a] < ranks[b] : distances[a] > distances[b];
  });
  order.resize(std::min(count, order.size()));
  return order;
}

}  // namespace kvpareto::tune
