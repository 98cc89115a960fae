// safetensors files written as their tensors come, for checkpoints larger than memory.
#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

struct TensorPlan {
  std::string name;
  std::string dtype;  // "F16", "I32"
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

// Writes model.safetensors, or several files of at most `max_file_bytes` (but for a tensor that is
// larger) with model.safetensors.index.json.
class CheckpointWriter {
 public:
  CheckpointWriter(std::string directory, std::vector<TensorPlan> tensors, uint64_t max_file_bytes);

  // The next bytes of the planned tensors, in order; a tensor may come in pieces. Errors: INTERNAL
  // (FILE_NOT_WRITABLE).
  absl::Status Write(std::span<const std::byte> data);
  // After all bytes. Errors: likewise.
  absl::Status Finish();

  uint64_t total_bytes() const { return total_bytes_; }

 private:
  struct File {
    std::string name;
    size_t first = 0, last = 0;  // tensors [first, last)
    uint64_t bytes = 0;
  };

  std::string PathOf(const std::string& name) const { return directory_ + "/" + name; }
  absl::Status OpenNext();
  absl::Status WriteIndex() const;

  const std::string directory_;
  const std::vector<TensorPlan> tensors_;
  std::vector<File> files_;
  uint64_t total_bytes_ = 0;
  size_t next_file_ = 0;
  uint64_t left_ = 0;  // bytes of the open file that are to come
  std::ofstream out_;
};

}  // namespace kvpareto::tune
