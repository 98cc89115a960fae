// The residual stream of the search samples: what AWQ's errors are measured against.
#pragma once

#include <cstdint>
#include <vector>

#include "autotuner/matrix.h"
#include "engine/model_files.h"

namespace kvpareto::tune {

class AwqResidual {
 public:
  // Before the first layer: the embeddings of the samples' tokens. Errors: of
  // ModelFiles::ReadRows.
  static absl::StatusOr<AwqResidual> Embed(const ModelFiles& files,
                                           const std::vector<std::vector<int32_t>>& samples);

  // x += y, [tokens, hidden]: what self-attention or the FFN of a layer adds.
  void Add(const Matrix& y);

  // 1 / |x_t|^2 of every token t. The norm before the next layer divides a token by its size; so a
  // square error counts by how far it turns the token. In a plain sum few tokens would decide: the
  // first of a text is often hundreds of times as large as others (Sun et al., "Massive Activations
  // in Large Language Models", arXiv 2402.17762). Of zeros: 1.
  std::vector<float> Weights() const;

 private:
  explicit AwqResidual(Matrix x) : x_(std::move(x)) {}

  Matrix x_;  // [tokens, hidden]
};

}  // namespace kvpareto::tune
