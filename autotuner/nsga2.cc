#include "autotuner/nsga2.h"

#include <algorithm>
#include <set>

namespace kvpareto::tune {
namespace {

constexpr int kTries = 20;  // to make a child that is not there yet

}  // namespace

Genome Nsga2::Random() {
  Genome genome;
  for (int choices : choices_) genome.push_back(static_cast<uint8_t>(Below(choices)));
  return genome;
}

// Each gene moves with probability 1 / genes, to a neighbour: choices are in the order of bits.
void Nsga2::Mutate(Genome& genome) {
  for (size_t g = 0; g < genome.size(); ++g) {
    if (Below(genome.size()) != 0) continue;
    const int moved = genome[g] + (Below(2) == 0 ? -1 : 1);
    genome[g] = static_cast<uint8_t>(std::clamp(moved, 0, choices_[g] - 1));
  }
}

std::vector<Genome> Nsga2::Begin(const std::vector<Genome>& seeds, size_t population) {
  std::vector<Genome> genomes;
  std::set<Genome> known;
  for (const Genome& seed : seeds) {
    if (genomes.size() < population && known.insert(seed).second) genomes.push_back(seed);
  }
  for (int tries = 0; genomes.size() < population; ++tries) {
    Genome genome = seeds.empty() ? Random() : seeds[Below(seeds.size())];
    Mutate(genome);
    if (known.insert(genome).second || tries > kTries * static_cast<int>(population)) {
      genomes.push_back(std::move(genome));
    }
  }
  return genomes;
}

std::vector<Genome> Nsga2::Offspring(const std::vector<Individual>& parents, size_t count) {
  std::vector<Costs> costs;
  std::set<Genome> known;
  for (const Individual& parent : parents) {
    costs.push_back(parent.costs);
    known.insert(parent.genome);
  }
  const std::vector<int> ranks = NonDominatedRanks(costs);
  const std::vector<double> distances = CrowdingDistances(costs, ranks);
  const auto pick = [&]() -> const Genome& {
    const size_t a = Below(parents.size()), b = Below(parents.size());
    const bool first = ranks[a] != ranks[b] ? ranks[a] < ranks[b] : distances[a] >= distances[b];
    return parents[first ? a : b].genome;
  };
  std::vector<Genome> children;
  while (children.size() < count) {
    Genome child;
    for (int tries = 0; tries < kTries; ++tries) {
      const Genome &mother = pick(), &father = pick();
      child = mother;
      for (size_t g = 0; g < child.size(); ++g) {
        if (Below(2) == 0) child[g] = father[g];
      }
      Mutate(child);
      if (known.insert(child).second) break;
    }
    children.push_back(std::move(child));
  }
  return children;
}

std::vector<Individual> Nsga2::Survivors(std::vector<Individual> all, size_t population) {
  std::vector<Costs> costs;
  for (const Individual& individual : all) costs.push_back(individual.costs);
  std::vector<Individual> survivors;
  for (size_t i : BestByRank(costs, population)) survivors.push_back(std::move(all[i]));
  return survivors;
}

}  // namespace kvpareto::tune
