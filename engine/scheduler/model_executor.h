// Steps computed by the transformer.
#pragma once

#include <memory>

#include "engine/model/transformer.h"
#include "engine/scheduler/step_executor.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {

class ModelExecutor final : public StepExecutor {
 public:
  // Both outlive the executor.
  ModelExecutor(Transformer* transformer, const Tokenizer* tokenizer)
      : transformer_(transformer), tokenizer_(tokenizer) {}

  std::unique_ptr<Continuation> Start(const PreparedRequest& prepared, int index) override;
  absl::Status Run(const StepWork& work, StepOutputs& outputs) override;
  void Requantize(std::span<const RequantizeItem> items) override {
    transformer_->Requantize(items);
  }

 private:
  StepBatch BuildBatch(const StepWork& work) const;

  Transformer* const transformer_;
  const Tokenizer* const tokenizer_;
};

}  // namespace kvpareto
