// Factorization of symmetric positive definite matrices, in blocks, in float.
#pragma once

#include "autotuner/matrix.h"

namespace kvpareto::tune {

// Columns that are eliminated at a time.
inline constexpr int64_t kLdlBlock = 128;

// The lower half of a = L D L^T becomes L below the diagonal, whose own diagonal is 1, and D on it;
// what is above is left as it is (Golub and Van Loan, "Matrix Computations", 4.1 and 4.2.9).
// Returns false, with `a` half done, when an entry of D is below min_pivot, which is positive, or
// no number. The result does not depend on the number of threads (0: one per core).
bool FactorLdl(float min_pivot, int threads, Matrix& a);

}  // namespace kvpareto::tune
