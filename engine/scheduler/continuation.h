// What one sequence says: the tokens it has so far, and where the next one comes from.
#pragma once

#include <cstdint>
#include <span>

#include "engine/base/status.h"
#include "engine/request.h"

namespace kvpareto {

// Not thread-safe: owned by the engine thread.
class Continuation {
 public:
  virtual ~Continuation() = default;

  virtual int64_t num_tokens() const = 0;  // prompt and generated
  // The tokens [num_tokens()]; empty where only their number matters (a cost model).
  virtual std::span<const int32_t> tokens() const = 0;
  // Takes the logits [vocab] of the last token (they are consumed): adds a token, and says what is
  // new. Errors: INTERNAL (NUMERICAL_ERROR).
  virtual absl::StatusOr<Delta> Accept(std::span<float> logits) = 0;
};

}  // namespace kvpareto
