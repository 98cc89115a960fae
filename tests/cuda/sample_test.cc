// Tokens chosen on the device against those of SampleToken, for the same logits: they are equal.
#include "engine/ops/sample.h"

#include <cmath>
#include <limits>

#include "tests/cuda/cuda_fixture.h"

namespace kvpareto::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SampleTest : public CudaTest {
 protected:
  // `rows` say how; each has logits of its own, [rows, vocab].
  void Check(const std::vector<float>& logits, std::vector<SampleRow> rows) {
    const int vocab = static_cast<int>(logits.size() / rows.size());
    for (size_t i = 0; i < rows.size(); ++i) rows[i].row = static_cast<int>(i);
    std::vector<int32_t> want;
    for (const SampleRow& how : rows) {
      std::vector<float> row(logits.begin() + size_t(how.row) * vocab,
                             logits.begin() + size_t(how.row + 1) * vocab);
      want.push_back(SampleToken(row, how));
    }
    EXPECT_EQ(OnDevice(logits, vocab, rows), want);
  }

  std::vector<int32_t> OnDevice(const std::vector<float>& logits, int vocab,
                                const std::vector<SampleRow>& rows) {
    Matrix device(*Gpu(), logits, vocab);
    auto memory = *Gpu()->AllocateOnHost(rows.size() * sizeof(int32_t));
    const std::span tokens(reinterpret_cast<int32_t*>(memory->data()), rows.size());
    std::fill(tokens.begin(), tokens.end(), -7);
    Gpu()->Sample({.logits = device.view(), .rows = rows, .tokens = tokens});
    EXPECT_TRUE(Gpu()->Synchronize().ok());
    return {tokens.begin(), tokens.end()};
  }

  std::mt19937_64 rng_{1};
};

TEST_F(SampleTest, GreedyTakesTheFirstOfTheLargest) {
  for (const int vocab : {1, 3, 511, 4099, 128256}) {
    std::vector<float> logits = RandomFloats(4 * size_t(vocab), vocab);
    for (float& x : logits) x = std::round(x * 4.0f) / 4.0f;  // many are equal, some 0 and -0
    Check(logits, std::vector<SampleRow>(4));
  }
  Check({-0.0f, 0.0f, -0.0f, -1.0f}, {{}});
  Check({-kInfinity, -5.0f, -kInfinity}, {{}});
}

TEST_F(SampleTest, EveryWayToChoose) {
  for (const auto& [vocab, sigma] :
       {std::pair(1, 1.0f), std::pair(40, 1.0f), std::pair(777, 4.0f), std::pair(49152, 0.1f),
        std::pair(128256, 3.0f), std::pair(151936, 2.0f)}) {
    std::vector<SampleRow> rows;
    for (const float temperature : {1e-30f, 0.7f, 1.0f, 100.0f}) {
      for (const int top_k : {0, 1, 40, 1000}) {
        for (const float top_p : {0.1f, 0.9f, 0.9999f, 1.0f}) {
          for (const float min_p : {0.0f, 0.05f}) {
            rows.push_back({.temperature = temperature,
                            .top_k = top_k,
                            .top_p = top_p,
                            .min_p = min_p,
                            .random = rng_()});
          }
        }
      }
    }
    // Rows by the dozen, so that large vocabularies take little memory.
    for (size_t first = 0; first < rows.size(); first += 16) {
      SCOPED_TRACE(testing::Message() << vocab << " rows from " << first);
      const std::vector<SampleRow> some(rows.begin() + first, rows.begin() + first + 16);
      std::vector<float> logits = RandomFloats(some.size() * vocab, 3 + first, sigma);
      Check(logits, some);
      for (float& x : logits) x = std::round(x);  // borders fall on equal logits
      Check(logits, some);
    }
  }
}

// Every point of the range that a draw can fall on, its ends among them.
TEST_F(SampleTest, DrawsAtTheEnds) {
  const std::vector<float> row = RandomFloats(5000, 5);
  std::vector<SampleRow> rows;
  std::vector<float> logits;
  for (const uint64_t random : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{1} << 63}) {
    rows.push_back({.temperature = 1.0f, .random = random});
    logits.insert(logits.end(), row.begin(), row.end());
  }
  Check(logits, rows);
}

TEST_F(SampleTest, PenaltiesAndBiases) {
  constexpr int kVocab = 3001;
  std::vector<uint32_t> seen((kVocab + 31) / 32);
  for (uint32_t& word : seen) word = static_cast<uint32_t>(rng_());
  seen.back() &= (1u << kVocab % 32) - 1;
  std::vector<TokenCount> counts;
  std::vector<TokenBias> biases;
  for (int token = 0; token < kVocab; token += 3) counts.push_back({token, 1 + token % 7});
  for (int token = 1; token < kVocab; token += 5)
    biases.push_back({token, token % 2 ? 3.0f : -9.0f});
  std::vector<SampleRow> rows;
  for (int i = 0; i < 24; ++i) {
    SampleRow how{.temperature = i % 3 == 0 ? 0.0f : 0.8f, .top_p = i % 2 ? 0.8f : 1.0f};
    how.random = rng_();
    how.repetition_penalty = 1.3f;
    how.presence_penalty = 0.4f;
    how.frequency_penalty = 0.2f;
    if (i & 4) how.seen = seen;
    if (i & 8) how.counts = counts;
    if (i & 16) how.biases = biases;
    rows.push_back(how);
  }
  Check(RandomFloats(rows.size() * kVocab, 6, 2.0f), rows);
}

// Lists of more rows than one launch takes.
TEST_F(SampleTest, LongListsOfManyRows) {
  constexpr int kVocab = 120000;
  std::vector<TokenBias> biases;
  for (int token = 0; token < kVocab; ++token) biases.push_back({token, (token % 11) * 0.5f});
  std::vector<SampleRow> rows(24, {.temperature = 1.0f, .biases = biases});
  for (SampleRow& how : rows) how.random = rng_();
  Check(RandomFloats(rows.size() * kVocab, 7), rows);
}

TEST_F(SampleTest, LogitsThatAreNotFiniteAreSaid) {
  for (const float bad : {std::nanf(""), -std::nanf(""), kInfinity}) {
    for (const int place : {0, 1000, 19999}) {
      for (const float temperature : {0.0f, 1.0f}) {
        std::vector<float> logits = RandomFloats(3 * 20000, 8);
        logits[20000 + place] = bad;  // of the second row alone
        const SampleRow how{.temperature = temperature, .top_p = 0.9f, .random = 99};
        const auto tokens = OnDevice(logits, 20000, {{how}, {.row = 1}, {.row = 2}});
        EXPECT_NE(tokens[0], kNotFinite);
        EXPECT_EQ(tokens[1], kNotFinite);
        EXPECT_NE(tokens[2], kNotFinite);
        Check(logits, {how, how, how});
      }
    }
  }
  const std::vector<float> nothing(100, -kInfinity);
  EXPECT_EQ(OnDevice(nothing, 100, {{}}), std::vector<int32_t>{kNotFinite});
}

// Rows that are not sampled keep their logits and their places.
TEST_F(SampleTest, OtherRowsStay) {
  const std::vector<float> logits = RandomFloats(4 * 1000, 9);
  Matrix device(*Gpu(), logits, 1000);
  auto memory = *Gpu()->AllocateOnHost(4 * sizeof(int32_t));
  const std::span tokens(reinterpret_cast<int32_t*>(memory->data()), 4);
  std::fill(tokens.begin(), tokens.end(), -7);
  const SampleRow rows[] = {{.row = 1}, {.row = 3, .temperature = 1.0f, .random = 5}};
  Gpu()->Sample({.logits = device.view(), .rows = rows, .tokens = tokens});
  EXPECT_TRUE(Gpu()->Synchronize().ok());
  EXPECT_EQ(tokens[0], -7);
  EXPECT_GE(tokens[1], 0);
  EXPECT_EQ(tokens[2], -7);
  EXPECT_GE(tokens[3], 0);
  EXPECT_EQ(device.Read(), logits);
}

}  // namespace
}  // namespace kvpareto::cuda
