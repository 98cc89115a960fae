// How much each token counts in AWQ's errors.
//
// Models keep activations in a few tokens, mostly the first of a text, that are hundreds of times
// those of all others (Sun et al., "Massive Activations in Large Language Models", arXiv
// 2402.17762). In a sum of squares nothing but these tokens would count, although the norm before
// the next layer divides their errors away.
#pragma once

#include <vector>

#include "autotuner/matrix.h"

namespace kvpareto::tune {

// 1 / (|y_t|^2 + the median of |y|^2) for every row t of y: the square error of a token of usual
// size counts in full, that of a larger one in relation to its size. Of zeros: 1.
std::vector<float> TokenWeights(MatrixView y);

}  // namespace kvpareto::tune
