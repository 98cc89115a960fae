#include "autotuner/nsga2.h"

#include <numeric>
#include <set>

#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

constexpr int kGenes = 12, kChoices = 4;

std::vector<Individual> Evaluated(const std::vector<Genome>& genomes) {
  std::vector<Individual> individuals;
  for (const Genome& genome : genomes) {
    // Bits, and an error that falls fastest in the first genes.
    double bits = 0.0, error = 0.0;
    for (size_t g = 0; g < genome.size(); ++g) {
      bits += genome[g];
      error += static_cast<double>(kChoices - 1 - genome[g]) / static_cast<double>(1 + g * g);
    }
    individuals.push_back({genome, {bits, error}});
  }
  return individuals;
}

// The smallest error at `bits` or fewer.
double ErrorAt(const std::vector<Individual>& individuals, double bits) {
  double best = 1e9;
  for (const Individual& individual : individuals) {
    if (individual.costs[0] <= bits) best = std::min(best, individual.costs[1]);
  }
  return best;
}

TEST(Nsga2Test, ApproachesAFrontThatIsKnown) {
  Nsga2 nsga2(std::vector<int>(kGenes, kChoices), 1);
  std::vector<Individual> alive = Evaluated(nsga2.Begin({Genome(kGenes, 1)}, 32));
  const double before = ErrorAt(alive, 9);
  for (int g = 0; g < 60; ++g) {
    const auto children = Evaluated(nsga2.Offspring(alive, 32));
    alive.insert(alive.end(), children.begin(), children.end());
    alive = Nsga2::Survivors(std::move(alive), 32);
    ASSERT_EQ(alive.size(), 32);
  }
  // The best nine bits go to the first three genes.
  double best = 0.0;
  for (int g = 3; g < kGenes; ++g) best += 3.0 / (1.0 + g * g);
  EXPECT_LT(ErrorAt(alive, 9), before);
  EXPECT_LT(ErrorAt(alive, 9), best * 1.1);
}

TEST(Nsga2Test, TheSameSeedGivesTheSameGenomes) {
  Nsga2 a(std::vector<int>(kGenes, kChoices), 7), b(std::vector<int>(kGenes, kChoices), 7);
  const auto begin = a.Begin({}, 8);
  EXPECT_EQ(begin, b.Begin({}, 8));
  EXPECT_EQ(a.Offspring(Evaluated(begin), 8), b.Offspring(Evaluated(begin), 8));
}

TEST(Nsga2Test, ChildrenAreNewAndInRange) {
  Nsga2 nsga2({2, 3, 1, 5}, 3);
  const auto parents = Evaluated(nsga2.Begin({{1, 2, 0, 4}, {0, 0, 0, 0}}, 6));
  EXPECT_EQ(parents[0].genome, Genome({1, 2, 0, 4})) << "seeds come first";
  std::set<Genome> known;
  for (const Individual& parent : parents) known.insert(parent.genome);
  for (const Genome& child : nsga2.Offspring(parents, 6)) {
    EXPECT_TRUE(known.insert(child).second);
    EXPECT_LT(child[0], 2);
    EXPECT_LT(child[1], 3);
    EXPECT_EQ(child[2], 0);
    EXPECT_LT(child[3], 5);
  }
}

TEST(Nsga2Test, EndsWhenThereIsNothingNew) {
  Nsga2 nsga2({1, 1}, 3);
  EXPECT_EQ(nsga2.Begin({}, 4).size(), 4);
  EXPECT_EQ(nsga2.Offspring(Evaluated({{0, 0}}), 3).size(), 3);
}

}  // namespace
}  // namespace kvpareto::tune
