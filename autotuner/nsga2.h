// Multi-objective evolution of strings of choices: NSGA-II (Deb, Pratap, Agarwal and Meyarivan,
// IEEE Transactions on Evolutionary Computation 6(2), 2002).
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "autotuner/pareto_rank.h"

namespace kvpareto::tune {

using Genome = std::vector<uint8_t>;  // [gene] which of its choices

struct Individual {
  Genome genome;
  Costs costs;
};

class Nsga2 {
 public:
  // `choices`: of each gene, at least 1. The same seed gives the same genomes on every platform.
  Nsga2(std::vector<int> choices, uint64_t seed) : choices_(std::move(choices)), random_(seed) {}

  // Genomes to begin with: the seeds, then mutations of them (of random genomes, if there are
  // none).
  std::vector<Genome> Begin(const std::vector<Genome>& seeds, size_t population);

  // `count` children of tournaments of two by rank and crowding, by uniform crossover and mutation.
  // None is a parent again, unless all tries to make a new one failed.
  std::vector<Genome> Offspring(const std::vector<Individual>& parents, size_t count);

  // The best of parents and children by rank and crowding.
  static std::vector<Individual> Survivors(std::vector<Individual> all, size_t population);

 private:
  size_t Below(size_t n) { return random_() % n; }
  Genome Random();
  void Mutate(Genome& genome);

  const std::vector<int> choices_;
  std::mt19937_64 random_;
};

}  // namespace kvpareto::tune
