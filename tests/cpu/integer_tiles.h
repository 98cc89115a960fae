// Products of codes on (emulated) AMX tiles beside those on vectors.
#pragma once

namespace kvpareto::cpu {

struct IntegerProduct {
  int bits = 4;
  bool of_query = true;  // or of probabilities
  int heads = 1;         // up to 16
  int rows = 32;         // of pairs
  int columns = 64;      // a multiple of 64
};

// How many sums differ; -1: the processor would have refused an instruction. Needs Isa::kAvx512.
int CountTileDifferences(const IntegerProduct& product);

}  // namespace kvpareto::cpu
