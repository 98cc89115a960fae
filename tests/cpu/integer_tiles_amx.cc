#include "tests/cpu/emulated_tiles_amx.h"
#include "tests/cpu/integer_tiles.h"
// Behind the emulation.
#include "engine/cpu/integer_tiles_amx.h"

namespace kvpareto::cpu {
namespace {

constexpr int kMaxRows = kMaxHeadDim / 2;
constexpr int kMaxColumns = 128;

uint32_t Random(uint32_t& state) { return state = state * 1664525u + 1013904223u; }

template <int kBits, FactorOf kOf, typename Integers>
void Multiply(const IntegerProduct& product, const FloatRows& factors, const std::byte* codes,
              Integers& integers, int32_t (*sums)[kMaxColumns]) {
  RoundFactors<FactorKind<kBits, kOf>, false>(factors, product.heads, integers.x.now());
  const size_t row_bytes = PairBytes<kBits>(product.columns);
  for (int c = 0; c < product.columns; c += 64) {
    integers.template Multiply<kBits, kOf, 4>(
        {codes + PairBytes<kBits>(c), nullptr, row_bytes, product.rows}, product.heads,
        [&](int h, int j, __m512i lanes) { _mm512_storeu_si512(&sums[h][c + 16 * j], lanes); });
  }
}

template <int kBits, FactorOf kOf>
int Count(const IntegerProduct& product) {
  static TileRows tiles;
  static VectorRows vectors;
  static float x[kFactorHeads][kMaxHeadDim];
  static std::byte codes[kMaxRows * 2 * kMaxColumns];
  static int32_t sums[2][kFactorHeads][kMaxColumns];
  uint32_t state = product.rows + 1000 * product.heads;
  std::memset(static_cast<void*>(&tiles), 0x5a, sizeof(tiles));  // what tasks before left
  tiles.x.Begin();
  vectors.x.Begin();
  for (auto& row : x) {
    for (float& f : row) {
      f = static_cast<float>(Random(state) >> 8) - (kOf == FactorOf::kQuery ? 0x1p23f : 0.0f);
    }
  }
  for (std::byte& code : codes) code = static_cast<std::byte>(Random(state) >> 24);
  const FloatRows factors = {.x = x[0], .stride = kMaxHeadDim, .n = 2 * product.rows};
  emulated_tiles.Configure(TileRows::Config(product.heads));
  Multiply<kBits, kOf>(product, factors, codes, tiles, sums[0]);
  Multiply<kBits, kOf>(product, factors, codes, vectors, sums[1]);
  if (!emulated_tiles.valid()) return -1;
  int count = 0;
  for (int h = 0; h < product.heads; ++h) {
    for (int c = 0; c < product.columns; ++c) count += sums[0][h][c] != sums[1][h][c];
  }
  return count;
}

template <int kBits>
int Count(const IntegerProduct& product) {
  return product.of_query ? Count<kBits, FactorOf::kQuery>(product)
                          : Count<kBits, FactorOf::kProbabilities>(product);
}

}  // namespace

int CountTileDifferences(const IntegerProduct& product) {
  switch (product.bits) {
    case 8:
      return Count<8>(product);
    case 6:
      return Count<6>(product);
    case 4:
      return Count<4>(product);
    case 3:
      return Count<3>(product);
    default:
      return Count<2>(product);
  }
}

}  // namespace kvpareto::cpu
