// Products of codes on AMX tiles, emulated where there are none, are those on vectors to the bit.
#include "tests/cpu/integer_tiles.h"

#include <gtest/gtest.h>

#include "engine/cpu/isa.h"

namespace kvpareto::cpu {
namespace {

TEST(IntegerTilesTest, TilesAndVectorsAgree) {
  if (DetectIsa() < Isa::kAvx512) GTEST_SKIP() << "no AVX-512";
  for (const int bits : {8, 6, 4, 3, 2}) {
    for (const int heads : {1, 4, 5, 7, 9, 16}) {
      for (const int rows : {8, 16, 32, 40, 48, 64, 128}) {  // of head sizes and groups
        EXPECT_EQ(CountTileDifferences({.bits = bits, .heads = heads, .rows = rows}), 0)
            << bits << " bits, " << heads << " heads, " << rows << " rows";
      }
      for (const int columns : {64, 128}) {
        EXPECT_EQ(CountTileDifferences(
                      {.bits = bits, .of_query = false, .heads = heads, .columns = columns}),
                  0)
            << bits << " bits, " << heads << " heads, " << columns << " columns";
      }
    }
  }
}

}  // namespace
}  // namespace kvpareto::cpu
