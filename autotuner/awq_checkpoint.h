// An AutoAWQ checkpoint, tensor by tensor.
#pragma once

#include <memory>
#include <string>

#include "autotuner/awq_layer.h"
#include "autotuner/checkpoint_writer.h"
#include "engine/model_files.h"

namespace kvpareto::tune {

// Whether the model's linear layers can be quantized in groups of so many input features, as
// AutoAWQ's words hold them. Errors: INVALID_ARGUMENT (TUNE_OPTION_INVALID) naming the tensor.
absl::Status CheckGroupSize(const ModelFiles& files, int group_size);

// Writes the directory's files in the order of the model. Linear layers of blocks are quantized,
// everything else is float16. Errors of all: INTERNAL (FILE_NOT_WRITABLE); OUT_OF_RANGE
// (WEIGHT_NOT_FINITE) for values beyond float16; of ModelFiles.
class AwqCheckpoint {
 public:
  // `directory` exists; configuration and tokenizer are written at once. `files` outlives this.
  static absl::StatusOr<std::unique_ptr<AwqCheckpoint>> Create(const ModelFiles& files,
                                                               int group_size,
                                                               const std::string& directory);

  // The linear layers as `codes`, everything else of `layer`. Layers come in order.
  absl::Status WriteLayer(const AwqLayer& layer, const AwqCodes& codes);
  // After the last layer.
  absl::Status Finish();

  uint64_t weights_bytes() const { return writer_->total_bytes(); }

 private:
  explicit AwqCheckpoint(const ModelFiles& files) : files_(files) {}

  absl::Status WriteLinear(const GroupCodes& codes, const std::string& name);
  absl::Status WriteHalf(const std::vector<float>& values, const std::string& name);
  absl::Status CopyTensor(const std::string& name);

  const ModelFiles& files_;
  std::unique_ptr<CheckpointWriter> writer_;
};

}  // namespace kvpareto::tune
