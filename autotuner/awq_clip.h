// AWQ's clips: a group whose largest weights are cut rounds the others more finely.
#pragma once

#include <vector>

#include "autotuner/matrix.h"

namespace kvpareto::tune {

// For every row of w [out, in] and group of `group_size` input features, clamps the weights to
// +-(largest |w| * (1 - i / 20)), i < 10, with the i whose rounded weights give the group's part of
// the output, over the tokens of x [tokens, in], the smallest sum of squared errors, each times
// token_weights [tokens].
void ClipGroups(MatrixView x, const std::vector<float>& token_weights, int group_size, int threads,
                Matrix& w);

}  // namespace kvpareto::tune
