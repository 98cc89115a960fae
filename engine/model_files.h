// A model on disk, for tools that make another model of it: its weights as floats, and what a
// Hugging Face directory has beside them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/json.h"
#include "engine/model/model_config.h"

namespace kvpareto {

// Immutable and thread-safe.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;
  // Errors: as those of loading a model.
  static absl::StatusOr<std::unique_ptr<ModelFiles>> Open(const std::string& path);

  virtual const ModelConfig& config() const = 0;
  virtual const std::string& fingerprint() const = 0;  // as ModelInfo's

  // [rows, cols] of a tensor by the engine's name ("blk.3.attn_q.weight"); a vector is one row.
  // Errors: TENSOR_NOT_FOUND.
  struct Shape {
    int64_t rows = 0;
    int64_t cols = 0;
  };
  virtual absl::StatusOr<Shape> ShapeOf(std::string_view tensor) const = 0;
  // Rows [first_row, first_row + num_rows), which exist, as floats [num_rows, cols]; rows of Q and
  // K as Hugging Face has them. first_row is a multiple of 8. Errors: TENSOR_NOT_FOUND.
  virtual absl::StatusOr<std::vector<float>> ReadRows(std::string_view tensor, int64_t first_row,
                                                      int64_t num_rows) const = 0;
  // All of it.
  absl::StatusOr<std::vector<float>> Read(std::string_view tensor) const;

  // The tensor's name in a Hugging Face checkpoint.
  static std::string HfTensorName(std::string_view tensor);

  // Writes into `directory` (it exists) all of a Hugging Face directory but the weights, which are
  // float16 quantized as `quantization` says. Errors: INTERNAL (FILE_NOT_WRITABLE), UNIMPLEMENTED
  // (ROPE_NOT_EXPRESSIBLE).
  virtual absl::Status WriteHfFiles(const Json& quantization,
                                    const std::string& directory) const = 0;
};

}  // namespace kvpareto
