// Ranking by several objectives at once, as NSGA-II does it (Deb, Pratap, Agarwal and Meyarivan, "A
// fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions on Evolutionary
// Computation 6(2), 2002): pure functions, every objective a cost to be small.
#pragma once

#include <cstddef>
#include <vector>

namespace kvpareto::tune {

// [objective] costs of one candidate; all candidates have as many, none is NaN.
using Costs = std::vector<double>;

// a is nowhere worse than b, and better somewhere.
bool Dominates(const Costs& a, const Costs& b);

// Fronts by non-dominated sorting: 0 for what nothing dominates, 1 for what only rank 0 dominates,
// and so on.
std::vector<int> NonDominatedRanks(const std::vector<Costs>& candidates);

// How alone a candidate is among those of its rank: the sum over objectives of the distance between
// its two neighbours, in units of the rank's range; infinite at the ends.
std::vector<double> CrowdingDistances(const std::vector<Costs>& candidates,
                                      const std::vector<int>& ranks);

// The indices of the `count` best: by rank, then the less crowded, then the earlier. All of them if
// there are fewer.
std::vector<size_t> BestByRank(const std::vector<Costs>& candidates, size_t count);

}  // namespace kvpareto::tune
