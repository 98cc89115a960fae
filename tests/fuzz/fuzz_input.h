// What every fuzz target needs: the parts of an input, bytes as a file, and what must hold of
// errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace kvpareto::fuzz {

// The parts between lines that are "=====": several files, or a template and its messages. Exactly
// `count` parts; those that the input lacks are empty, and the last one holds what is left.
std::vector<std::string> Parts(std::string_view input, size_t count);

// Bytes as a regular file that exists as long as the object, without touching a disk.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  const std::string& path() const { return path_; }

 private:
  int fd_ = -1;
  std::string path_;
};

// Aborts unless `status` is OK or an error as clients are promised: with a reason, a message of
// valid UTF-8 and bounded length, and a code that blames the input.
void CheckRefusal(const absl::Status& status);

}  // namespace kvpareto::fuzz
