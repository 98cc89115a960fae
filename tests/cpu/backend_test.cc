#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "engine/cpu/cpu_backend.h"
#include "engine/cpu/isa.h"
#include "tests/cpu/available_isas.h"
#include "tests/cpu/random_weight.h"

namespace kvpareto {
namespace {

using cpu::Isa;
using cpu::MakeRandomTensor;
using cpu::RandomFloats;
using cpu::RandomTensor;

Activations View(std::vector<float>& values, int rows) {
  return {reinterpret_cast<std::byte*>(values.data()), rows,
          static_cast<int>(values.size()) / rows};
}

class BackendTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    auto backend = CreateCpuBackend({.threads = 2, .isa = IsaName(GetParam())});
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = std::move(*backend);
  }
  std::unique_ptr<Weight> Load(const TensorView& view) {
    auto weight = backend_->LoadWeight({&view, 1});
    EXPECT_TRUE(weight.ok()) << weight.status();
    return std::move(*weight);
  }
  std::unique_ptr<Weight> LoadVector(int cols, uint32_t seed, std::vector<float>* values) {
    RandomTensor tensor = MakeRandomTensor(TensorType::kF32, 1, cols, seed);
    tensor.view.shape = {cols};
    values->resize(cols);
    std::memcpy(values->data(), tensor.storage.data(), cols * sizeof(float));
    return Load(tensor.view);
  }
  std::unique_ptr<Backend> backend_;
};

TEST_P(BackendTest, NamesItsInstructionSet) {
  EXPECT_EQ(backend_->name(), absl::StrCat("cpu-", std::string(IsaName(GetParam()))));
}

TEST_P(BackendTest, AllocatesAlignedMemoryAndCopies) {
  auto buffer = backend_->Allocate(5 << 20);
  ASSERT_TRUE(buffer.ok());
  std::byte* data = (*buffer)->data();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 128, 0u);
  EXPECT_EQ((*buffer)->bytes(), size_t{5} << 20);
  std::vector<int> values(1000), back(1000);
  std::iota(values.begin(), values.end(), 0);
  backend_->CopyFromHost(data + 400, values.data(), 4000);
  backend_->Move(data, data + 400, 4000);
  backend_->CopyToHost(back.data(), data, 4000);
  EXPECT_EQ(back, values);
  EXPECT_TRUE(backend_->Synchronize().ok());
}

TEST_P(BackendTest, ReportsMemoryThatIsNotThere) {
  const auto buffer = backend_->Allocate(size_t{1} << 60);
  EXPECT_EQ(buffer.status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_P(BackendTest, Embed) {
  for (const TensorType type : {TensorType::kQ8_0, TensorType::kQ5_0, TensorType::kF16}) {
    const int vocabulary = 300, cols = 576;
    const RandomTensor tensor = MakeRandomTensor(type, vocabulary, cols, 1);
    const auto table = Load(tensor.view);
    const std::vector<float> rows = tensor.Decode();
    std::vector<int32_t> ids = {0, 299, 16, 15, 16, 17};
    for (int i = 0; i < 60; ++i) ids.push_back(i * 4);
    std::vector<float> y(ids.size() * cols);
    backend_->Embed(*table, ids, View(y, ids.size()));
    for (size_t i = 0; i < y.size(); ++i) {
      ASSERT_EQ(y[i], rows[ids[i / cols] * cols + i % cols]) << i;
    }
  }
}

TEST_P(BackendTest, RmsNormOfWholeRowsAndOfGroups) {
  const int rows = 70, head_dim = 64, cols = 5 * head_dim;
  const std::vector<float> x = RandomFloats(rows * cols, 2);
  std::vector<float> weight_values;
  const auto check = [&](int group, int first, int last, bool in_place) {
    const auto weight = LoadVector(group, 3, &weight_values);
    std::vector<float> from = x, to(x.size(), NAN);
    std::vector<float>& y = in_place ? from : to;
    backend_->RmsNorm({.x = View(from, rows),
                       .weight = weight.get(),
                       .y = View(y, rows),
                       .epsilon = 1e-6f,
                       .group_cols = group == cols ? 0 : group,
                       .first_col = first,
                       .last_col = last == cols ? 0 : last});
    for (int i = 0; i < rows * cols; ++i) {
      const int c = i % cols;
      if (c < first || c >= last) {
        ASSERT_EQ(y[i], x[i]) << "outside the groups: " << c;
        continue;
      }
      const int begin = i - (c - first) % group;
      double sum = 0.0;
      for (int j = begin; j < begin + group; ++j) sum += double{x[j]} * x[j];
      const double expected = x[i] / std::sqrt(sum / group + 1e-6) * weight_values[i - begin];
      ASSERT_NEAR(y[i], expected, 1e-6 * std::abs(expected)) << i;
    }
  };
  for (const bool in_place : {false, true}) {
    check(cols, 0, cols, in_place);
    check(head_dim, 0, 3 * head_dim, in_place);
    check(head_dim, 3 * head_dim, 4 * head_dim, in_place);
    check(head_dim, head_dim, cols, in_place);
  }
}

TEST_P(BackendTest, RopeTurnsTheNamedHeadsOnly) {
  const int rows = 40, head_dim = 80, heads = 2, first_col = 16, cols = 16 + 3 * head_dim;
  std::vector<float> inverse_frequency;
  for (int i = 0; i < head_dim / 2; ++i) {
    inverse_frequency.push_back(std::pow(1e5, -2.0 * i / head_dim));
  }
  std::vector<int32_t> positions;
  for (int r = 0; r < rows; ++r) positions.push_back(r * 211);
  const std::vector<float> x = RandomFloats(rows * cols, 4);
  std::vector<float> y = x;
  backend_->Rope({.x = View(y, rows),
                  .first_col = first_col,
                  .heads = heads,
                  .head_dim = head_dim,
                  .positions = positions,
                  .inverse_frequency = inverse_frequency});
  for (int i = 0; i < rows * cols; ++i) {
    const int c = i % cols - first_col;
    if (c < 0 || c >= heads * head_dim) {
      ASSERT_EQ(y[i], x[i]);
      continue;
    }
    const int half = head_dim / 2, pair = c % head_dim % half;
    const double angle = static_cast<float>(positions[i / cols]) * inverse_frequency[pair];
    const bool second = c % head_dim >= half;
    const double expected =
        x[i] * std::cos(angle) + (second ? x[i - half] : -x[i + half]) * std::sin(angle);
    ASSERT_NEAR(y[i], expected, 4e-6) << i;
  }
}

TEST_P(BackendTest, SiluMulAndGatherRows) {
  const int rows = 33, cols = 100;
  std::vector<float> x = RandomFloats(rows * 2 * cols, 5), y(rows * cols);
  backend_->SiluMul(View(x, rows), View(y, rows));
  for (int i = 0; i < rows * cols; ++i) {
    const double gate = x[i / cols * 2 * cols + i % cols];
    const double expected =
        gate / (1.0 + std::exp(-gate)) * x[i / cols * 2 * cols + cols + i % cols];
    ASSERT_NEAR(y[i], expected, 1e-6 * std::abs(expected) + 1e-30) << i;
  }
  const std::vector<int32_t> wanted = {32, 0, 7};
  std::vector<float> picked(3 * cols);
  backend_->GatherRows(View(y, rows), wanted, View(picked, 3));
  for (int i = 0; i < 3 * cols; ++i) {
    ASSERT_EQ(picked[i], y[wanted[i / cols] * cols + i % cols]);
  }
}

TEST_P(BackendTest, LinearComputesFromALoadedWeight) {
  const int rows = 9, cols = 576, outputs = 48;
  const RandomTensor tensor = MakeRandomTensor(TensorType::kQ4_1, outputs, cols, 6);
  const auto weight = Load(tensor.view);
  std::vector<float> x = RandomFloats(rows * cols, 7), y(rows * outputs);
  const size_t scratch_bytes = backend_->scratch_bytes();
  backend_->Linear({.x = View(x, rows),
                    .weight = weight.get(),
                    .bias = nullptr,
                    .y = View(y, rows),
                    .split = {4, 5}});
  EXPECT_EQ(backend_->scratch_bytes(), scratch_bytes) << "a constant once weights are loaded";
  const std::vector<float> w = tensor.Decode();
  for (int i = 0; i < rows * outputs; ++i) {
    double expected = 0.0, magnitude = 0.0;
    for (int c = 0; c < cols; ++c) {
      const double product = double{x[i / outputs * cols + c]} * w[i % outputs * cols + c];
      expected += product;
      magnitude += std::abs(product);
    }
    ASSERT_NEAR(y[i], expected, 0x1p-7 * magnitude) << i;  // bf16 rounds both factors
  }
}

INSTANTIATE_TEST_SUITE_P(All, BackendTest, testing::ValuesIn(cpu::AvailableIsas()),
                         [](const auto& i) { return cpu::Name(i.param); });

TEST(CreateCpuBackend, ChoosesTheInstructionSet) {
  EXPECT_EQ(GetErrorInfo(CreateCpuBackend({.isa = "sse"}).status())->reason, "CPU_ISA_UNKNOWN");
  ASSERT_EQ(setenv("KVPARETO_CPU_ISA", "scalar", 1), 0);
  EXPECT_EQ((*CreateCpuBackend({}))->name(), "cpu-scalar");
  ASSERT_EQ(setenv("KVPARETO_CPU_ISA", "nonsense", 1), 0);
  EXPECT_EQ(GetErrorInfo(CreateCpuBackend({}).status())->reason, "CPU_ISA_UNKNOWN");
  EXPECT_TRUE(CreateCpuBackend({.isa = "scalar"}).ok()) << "the variable overrides auto only";
  ASSERT_EQ(unsetenv("KVPARETO_CPU_ISA"), 0);
  for (const Isa isa : cpu::AllIsas()) {
    if (isa <= cpu::DetectIsa()) continue;
    EXPECT_EQ(GetErrorInfo(CreateCpuBackend({.isa = IsaName(isa)}).status())->reason,
              "CPU_ISA_UNAVAILABLE");
  }
}

}  // namespace
}  // namespace kvpareto
