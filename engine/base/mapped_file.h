// A read-only memory-mapped file.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "engine/base/mapping_guard.h"
#include "engine/base/status.h"

namespace kvpareto {

// The bytes stay valid and unchanged in address as long as the object lives. Thread-safe.
class MappedFile {
 public:
  // Errors: NOT_FOUND (no such file), PERMISSION_DENIED, INVALID_ARGUMENT (empty or not a regular
  // file). A file that is truncated while it is mapped, or cannot be read, gives zeros from then
  // on: Check tells.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }
  const std::string& path() const { return path_; }
  // Whether all that was read so far is what the file held. Errors: DATA_LOSS (FILE_READ_FAILED).
  absl::Status Check() const;

  // Tells the OS that [offset, offset + length) is not needed in memory for now: after weights have
  // been repacked, their file pages need not stay resident.
  void DropPages(size_t offset, size_t length) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size_bytes)
      : path_(std::move(path)), data_(data), size_bytes_(size_bytes) {
    guard_.emplace(data, size_bytes);
  }

  std::string path_;
  const std::byte* data_;
  size_t size_bytes_;
  std::optional<MappingGuard> guard_;  // while it is mapped
};

// The whole file as a string. Errors as MappedFile::Open; OUT_OF_RANGE above `max_bytes`;
// of MappedFile::Check.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes);

}  // namespace kvpareto
