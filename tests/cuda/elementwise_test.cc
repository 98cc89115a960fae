#include <cmath>

#include "tests/cpu/random_awq.h"
#include "tests/cuda/cuda_fixture.h"

namespace kvpareto::cuda {
namespace {

class ElementwiseTest : public CudaTest {
 protected:
  static std::unique_ptr<Weight> Vector(Backend& backend, const std::vector<float>& values) {
    const TensorView view{.name = "vector",
                          .type = TensorType::kF32,
                          .shape = {static_cast<int64_t>(values.size())},
                          .data = std::as_bytes(std::span(values)),
                          .interleaved_head_dim = 0};
    return *backend.LoadWeight({&view, 1});
  }

  // Runs `op` on both backends over x and y; the values of y must agree.
  template <typename Op>
  void Compare(const std::vector<float>& x, int x_cols, size_t y_size, int y_cols, Op op,
               float relative, float absolute) {
    const std::vector<float> poison(y_size, std::nanf(""));
    Matrix gpu_x(*Gpu(), x, x_cols), gpu_y(*Gpu(), poison, y_cols);
    Matrix cpu_x(Cpu(), x, x_cols), cpu_y(Cpu(), poison, y_cols);
    op(*Gpu(), gpu_x.view(), gpu_y.view());
    op(Cpu(), cpu_x.view(), cpu_y.view());
    ExpectNear(gpu_y.Read(), cpu_y.Read(), relative, absolute);
  }
};

TEST_F(ElementwiseTest, RmsNormOfRows) {
  for (const int cols : {5, 64, 576, 4096}) {
    SCOPED_TRACE(cols);
    const auto weight = RandomFloats(cols, 1);
    const auto gpu = Vector(*Gpu(), weight), cpu = Vector(Cpu(), weight);
    Compare(
        RandomFloats(7 * cols, 2), cols, 7 * cols, cols,
        [&](Backend& b, Activations x, Activations y) {
          b.RmsNorm({.x = x, .weight = (&b == Gpu() ? gpu : cpu).get(), .y = y, .epsilon = 1e-5f});
        },
        1e-5f, 1e-6f);
  }
}

TEST_F(ElementwiseTest, RmsNormOfGroupsLeavesTheRest) {
  const auto weight = RandomFloats(64, 1);
  const auto gpu = Vector(*Gpu(), weight), cpu = Vector(Cpu(), weight);
  Compare(
      RandomFloats(5 * 640, 3), 640, 5 * 640, 640,
      [&](Backend& b, Activations x, Activations y) {
        b.RmsNorm({.x = x,
                   .weight = (&b == Gpu() ? gpu : cpu).get(),
                   .y = y,
                   .epsilon = 1e-6f,
                   .group_cols = 64,
                   .first_col = 128,
                   .last_col = 384});
      },
      1e-5f, 1e-6f);
}

TEST_F(ElementwiseTest, RopeInPlaceFarFromTheStart) {
  const std::vector<int32_t> positions = {0, 1, 63, 4097, 131071};
  std::vector<float> frequency(32);
  for (int i = 0; i < 32; ++i) frequency[i] = std::pow(500000.0f, -i / 32.0f);
  const auto x = RandomFloats(5 * 320, 4);
  Matrix gpu(*Gpu(), x, 320), cpu(Cpu(), x, 320);
  for (auto [backend, view] : {std::pair(Gpu(), gpu.view()), std::pair(&Cpu(), cpu.view())}) {
    backend->Rope({.x = view,
                   .first_col = 64,
                   .heads = 3,
                   .head_dim = 64,
                   .positions = positions,
                   .inverse_frequency = frequency});
  }
  ExpectNear(gpu.Read(), cpu.Read(), 1e-5f, 2e-6f);
}

TEST_F(ElementwiseTest, SiluMul) {
  Compare(
      RandomFloats(9 * 2 * 333, 5, 4.0f), 2 * 333, 9 * 333, 333,
      [](Backend& b, Activations x, Activations y) { b.SiluMul(x, y); }, 1e-5f, 1e-6f);
}

TEST_F(ElementwiseTest, GatherRows) {
  const std::vector<int32_t> rows = {8, 0, 3, 3};
  Compare(
      RandomFloats(9 * 100, 6), 100, 4 * 100, 100,
      [&](Backend& b, Activations x, Activations y) { b.GatherRows(x, rows, y); }, 0.0f, 0.0f);
}

// Rows of a table come back exactly as the definition of their format decodes them: so nothing is
// lost by packing. Two stacked formats; rows that do not fill a panel.
TEST_F(ElementwiseTest, EmbedEveryFormat) {
  for (const TensorType type : cpu::AllTypesAndAwq()) {
    SCOPED_TRACE(GetTensorTypeInfo(type).name);
    const int cols = cpu::IsFloat(type) ? 100 : 512;
    const int rows = type == TensorType::kAwq4 ? 24 : 21;  // AWQ has eight in a word
    cpu::RandomTensor first = type == TensorType::kAwq4
                                  ? cpu::MakeRandomAwq(rows, cols, 7)
                                  : cpu::MakeRandomTensor(type, rows, cols, 7);
    cpu::RandomTensor second = cpu::MakeRandomTensor(TensorType::kBf16, 40 - rows, cols, 8);
    const TensorView views[] = {first.view, second.view};
    auto weight = Gpu()->LoadWeight(views);
    ASSERT_TRUE(weight.ok()) << weight.status();
    std::vector<int32_t> ids;
    for (int i = 0; i < 40; ++i) ids.push_back((i * 17) % 40);
    Matrix y(*Gpu(), std::vector<float>(40 * cols, std::nanf("")), cols);
    Gpu()->Embed(**weight, ids, y.view());
    std::vector<float> table = first.Decode();
    const std::vector<float> rest = second.Decode();
    table.insert(table.end(), rest.begin(), rest.end());
    const std::vector<float> got = y.Read();
    for (int i = 0; i < 40; ++i) {
      for (int c = 0; c < cols; ++c) {
        ASSERT_EQ(got[i * cols + c], table[ids[i] * cols + c]) << "row " << ids[i] << " col " << c;
      }
    }
  }
}

}  // namespace
}  // namespace kvpareto::cuda
