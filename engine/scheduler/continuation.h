// What one sequence says: the tokens it has so far, and where the next one comes from.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/ops/sample.h"
#include "engine/request.h"

namespace kvpareto {

// What a step gives a sequence for its next token.
struct StepOutput {
  int32_t token = kNotFinite;  // where the continuation says how to choose it
  std::vector<float> logits;   // [vocab] otherwise
};

// Not thread-safe: owned by the engine thread.
class Continuation {
 public:
  virtual ~Continuation() = default;

  virtual int64_t num_tokens() const = 0;  // prompt and generated
  // The tokens [num_tokens()]; empty where only their number matters (a cost model).
  virtual std::span<const int32_t> tokens() const = 0;
  // How the next token is chosen from the logits of the last one, where they are; nothing: the
  // logits themselves are wanted. Valid until the next Accept.
  virtual std::optional<SampleRow> NextSample() const { return std::nullopt; }
  // Takes what the step gave: adds a token, and says what is new. Errors: INTERNAL
  // (NUMERICAL_ERROR).
  virtual absl::StatusOr<Delta> Accept(StepOutput output) = 0;
};

}  // namespace kvpareto
