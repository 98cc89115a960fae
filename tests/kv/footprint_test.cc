#include "engine/kv/footprint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>

namespace kvpareto::kv {
namespace {

FootprintParams Params(int sink, int recent, bool seals = true) {
  return {.sealed_block_bytes = 300,
          .bf16_block_bytes = 1000,
          .sink_bytes = sink == 0 ? size_t{0} : size_t{77},
          .sink_tokens = sink,
          .recent_tokens = recent,
          .seals = seals};
}

// The sequence as a scheduler keeps it: one object per extent, block by block, token by token. It
// knows the rule only in its own words (footprint.h, first comment).
class SimulatedSequence {
 public:
  explicit SimulatedSequence(const FootprintParams& params) : params_(params) {}

  // Runs one step; returns the bytes allocated while it ran.
  size_t Step(int64_t after) {
    std::map<int64_t, bool> is_sealed_after;  // block -> sealed
    for (int64_t token = params_.sink_tokens; token < after; ++token) {
      const int64_t block = (token - params_.sink_tokens) / kBlockTokens;
      const int64_t last_token = params_.sink_tokens + (block + 1) * kBlockTokens - 1;
      is_sealed_after[block] =
          params_.seals && last_token < after && last_token < after - params_.recent_tokens;
    }
    if (after > 0 && params_.sink_tokens > 0) has_sink_ = true;
    std::map<int64_t, bool> freed;
    for (const auto& [block, sealed] : is_sealed_after) {
      if (sealed) {
        sealed_[block] = true;
        if (bf16_.contains(block)) freed[block] = true;
      } else {
        bf16_[block] = true;
      }
    }
    const size_t during = Bytes();
    for (const auto& [block, unused] : freed) bf16_.erase(block);
    return during;
  }

  size_t Bytes() const {
    return has_sink_ * params_.sink_bytes + sealed_.size() * params_.sealed_block_bytes +
           bf16_.size() * params_.bf16_block_bytes;
  }
  Residency residency() const {
    return {has_sink_, static_cast<int>(sealed_.size()), static_cast<int>(bf16_.size())};
  }

 private:
  FootprintParams params_;
  bool has_sink_ = false;
  std::map<int64_t, bool> sealed_, bf16_;
};

TEST(FootprintTest, ResidencyByHand) {
  const FootprintParams params = Params(16, 0);
  EXPECT_EQ(ResidencyAt(params, 0), (Residency{0, 0, 0}));
  EXPECT_EQ(ResidencyAt(params, 1), (Residency{1, 0, 0}));
  EXPECT_EQ(ResidencyAt(params, 16), (Residency{1, 0, 0}));
  EXPECT_EQ(ResidencyAt(params, 17), (Residency{1, 0, 1}));
  EXPECT_EQ(ResidencyAt(params, 16 + 63), (Residency{1, 0, 1}));
  EXPECT_EQ(ResidencyAt(params, 16 + 64), (Residency{1, 1, 0}));
  EXPECT_EQ(ResidencyAt(params, 16 + 65), (Residency{1, 1, 1}));
  // A recent window of 100: block 0 is sealed once 100 tokens stand behind it.
  EXPECT_EQ(ResidencyAt(Params(16, 100), 16 + 163), (Residency{1, 0, 3}));
  EXPECT_EQ(ResidencyAt(Params(16, 100), 16 + 164), (Residency{1, 1, 2}));
  EXPECT_EQ(ResidencyAt(Params(0, 0), 128), (Residency{0, 2, 0}));
  EXPECT_EQ(ResidencyAt(Params(0, 0, false), 129), (Residency{0, 0, 3}));
}

TEST(FootprintTest, StepPeakByHand) {
  const FootprintParams params = Params(0, 0);
  // Block 0 is open (1000), its 64th token seals it (300).
  EXPECT_EQ(StepPeakBytes(params, 63, 64), 1300);
  // Filled and sealed inside one step: no bf16 extent.
  EXPECT_EQ(StepPeakBytes(params, 0, 128), 600);
  // The tail does get one.
  EXPECT_EQ(StepPeakBytes(params, 0, 130), 1600);
  EXPECT_EQ(StepPeakBytes(params, 64, 64), 300);
}

TEST(FootprintTest, EqualsTheSimulationAtEveryStep) {
  std::mt19937 random(21);
  const auto pick = [&](int max) { return std::uniform_int_distribution<int>(0, max)(random); };
  for (int trial = 0; trial < 600; ++trial) {
    const FootprintParams params =
        Params(pick(1) ? pick(100) : 16 * pick(4), pick(1) ? pick(200) : 64 * pick(3), pick(9) > 0);
    const int64_t prompt = pick(1000), total = prompt + pick(300);
    const int chunk = trial % 3 == 0 ? 1 + pick(300) : 64 * (1 + pick(7));
    SimulatedSequence sequence(params);
    size_t peak = 0;
    for (int64_t done = 0; done < total;) {
      const int64_t next = done < prompt ? std::min<int64_t>(prompt, done + chunk) : done + 1;
      const size_t during = sequence.Step(next);
      ASSERT_EQ(StepPeakBytes(params, done, next), during) << done << " -> " << next;
      ASSERT_EQ(ResidencyAt(params, next), sequence.residency()) << next;
      ASSERT_EQ(ResidencyBytes(params, sequence.residency()), sequence.Bytes());
      peak = std::max(peak, during);
      done = next;
    }
    // From any border of the prompt's chunks on: what is left of the same walk.
    const int64_t border = prompt == 0 ? 0 : pick(static_cast<int>(prompt - 1) / chunk) * chunk;
    size_t rest = ResidencyBytes(params, ResidencyAt(params, border));
    for (int64_t done = border; done < total;) {
      const int64_t next = done < prompt ? std::min<int64_t>(prompt, done + chunk) : done + 1;
      rest = std::max(rest, StepPeakBytes(params, done, next));
      done = next;
    }
    ASSERT_EQ(PredictPeakBytesFrom(params, border, prompt, total, chunk), rest) << border;
    ASSERT_LE(FinalBytes(params, border), ResidencyBytes(params, ResidencyAt(params, border)));
    ASSERT_EQ(PredictPeakBytes(params, prompt, total, chunk), peak)
        << "prompt " << prompt << " total " << total << " chunk " << chunk << " sink "
        << params.sink_tokens << " recent " << params.recent_tokens;
  }
}

TEST(FootprintTest, FinalIsWhatNoLaterStepChanges) {
  const FootprintParams sealing = Params(16, 0);
  EXPECT_EQ(FinalBytes(sealing, 15), 0);  // the sink is still being filled
  EXPECT_EQ(FinalBytes(sealing, 16), 77);
  EXPECT_EQ(FinalBytes(sealing, 16 + 127), 77 + 300);
  EXPECT_EQ(FinalBytes(Params(16, 64), 16 + 127), 77);  // recent: not sealed yet
  EXPECT_EQ(FinalBytes(Params(16, 0, false), 16 + 127), 77 + 1000);
}

TEST(FootprintTest, Bf16ThroughoutNeverNeedsACopy) {
  const FootprintParams params = {
      .sealed_block_bytes = 1000, .bf16_block_bytes = 1000, .recent_tokens = 128, .seals = false};
  EXPECT_EQ(PredictPeakBytes(params, 640, 640, 256), 10 * 1000);
  EXPECT_EQ(PredictPeakBytes(params, 640, 641, 256), 11 * 1000);
}

TEST(FootprintTest, EmptyAndTinyRequests) {
  EXPECT_EQ(PredictPeakBytes(Params(16, 0), 0, 0, 256), 0);
  EXPECT_EQ(PredictPeakBytes(Params(16, 0), 0, 1, 256), 77);
  EXPECT_EQ(PredictPeakBytes(Params(16, 0), 1, 1, 256), 77);
  EXPECT_EQ(PredictPeakBytes(Params(0, 0), 1, 1, 256), 1000);
  EXPECT_EQ(PredictPeakBytes(Params(0, 0), 1, 0, 256), 1000);  // total below prompt: prompt counts
}

TEST(FootprintTest, IsFastForLongPrompts) {
  const auto start = std::chrono::steady_clock::now();
  size_t sum = 0;
  for (int i = 0; i < 100; ++i) sum += PredictPeakBytes(Params(16, 128), 131072 + i, 150000, 64);
  EXPECT_GT(sum, 0);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  // About 3,000 simulated steps each; a tenth of a second would be 100 times too slow. Sanitizers
  // and loaded machines have room.
  EXPECT_LT(elapsed.count(), 2.0);
}

}  // namespace
}  // namespace kvpareto::kv
