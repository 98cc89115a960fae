// A continuation that samples from the model's logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/request.h"
#include "engine/scheduler/continuation.h"
#include "engine/text/sampler.h"
#include "engine/text/stop_strings.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {

class SampledContinuation final : public Continuation {
 public:
  // The `index`-th of the request's continuations. `tokenizer` outlives it.
  SampledContinuation(const PreparedRequest& prepared, int index,
                      std::span<const int32_t> eos_tokens, const Tokenizer* tokenizer);

  int64_t num_tokens() const override { return static_cast<int64_t>(tokens_.size()); }
  std::span<const int32_t> tokens() const override { return tokens_; }
  std::optional<SampleRow> NextSample() const override;
  absl::StatusOr<Delta> Accept(StepOutput output) override;

 private:
  bool IsStopToken(int32_t token) const;

  const int index_;
  const int64_t end_tokens_;     // prompt and all that may be generated
  std::vector<int32_t> tokens_;  // prompt, then generated
  std::vector<int32_t> stop_tokens_;
  Sampler sampler_;
  StreamDecoder decoder_;
  StopStrings stops_;
};

}  // namespace kvpareto
