// A model on disk: a GGUF file or a Hugging Face directory behind one interface.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/tensor.h"
#include "engine/model/model_config.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

// Canonical tensor names (GGUF's): token_embd.weight, output_norm.weight, output.weight,
// blk.N.{attn_norm,attn_q,attn_k,attn_v,attn_output,attn_q_norm,attn_k_norm,ffn_norm,ffn_gate,ffn_up,
// ffn_down}.weight, blk.N.attn_{q,k,v}.bias. Immutable and thread-safe; the mapping lives as long
// as it.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const TokenizerSpec& tokenizer() const = 0;
  virtual const std::string& chat_template() const = 0;  // Jinja text; empty: the model has none
  // Tensor by canonical name, or NOT_FOUND. Every view lies inside the file (checked at open).
  virtual absl::StatusOr<TensorView> Tensor(std::string_view name) const = 0;
  virtual bool Has(std::string_view name) const = 0;
  virtual size_t file_bytes() const = 0;
  // Whether all that was read so far is what the files held. Errors: DATA_LOSS (FILE_READ_FAILED).
  virtual absl::Status Check() const = 0;
  // Weights have been repacked: the file's pages may leave memory.
  virtual void DropPages() const = 0;
  // Identifies these weights and this architecture: a hash of config, tensor names, types, shapes,
  // and samples of each tensor's data (16 hex digits). Cheap: does not read the whole file.
  virtual const std::string& fingerprint() const = 0;
};

// `path`: a .gguf file, or a directory with config.json. Errors name the file and what is wrong in
// it: NOT_FOUND, INVALID_ARGUMENT (reason MODEL_FILE_CORRUPT, MODEL_FILE_TRUNCATED,
// MODEL_CONFIG_INVALID), UNIMPLEMENTED (MODEL_ARCHITECTURE_UNSUPPORTED, QUANTIZATION_UNSUPPORTED,
// TENSOR_TYPE_UNSUPPORTED, TOKENIZER_UNSUPPORTED).
absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path);

}  // namespace kvpareto
