// What a loader makes of a model on disk, before it is checked as a whole and becomes a
// ModelSource.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/mapped_file.h"
#include "engine/model/model_config.h"
#include "engine/model/tensor_catalog.h"
#include "engine/text/tokenizer_spec.h"

namespace kvpareto {

struct LoadedModel {
  std::vector<std::shared_ptr<const MappedFile>> files;  // `tensors` points into them
  ModelConfig config;
  TokenizerSpec tokenizer;
  std::string chat_template;
  TensorCatalog tensors;  // canonical names
};

absl::StatusOr<LoadedModel> LoadGgufModel(const std::string& path);
absl::StatusOr<LoadedModel> LoadHfDirectory(const std::string& path);

}  // namespace kvpareto
