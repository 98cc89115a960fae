#include "engine/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace kvpareto {
namespace {

absl::Status FileError(const std::string& path, int error) {
  const absl::StatusCode code = error == ENOENT   ? absl::StatusCode::kNotFound
                                : error == EACCES ? absl::StatusCode::kPermissionDenied
                                                  : absl::StatusCode::kUnavailable;
  return MakeError(code, "FILE_ACCESS", absl::StrCat(path, ": ", std::strerror(error)),
                   {{"path", path}});
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return FileError(path, errno);
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    return FileError(path, error);
  }
  if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    ::close(fd);
    return MakeError(absl::StatusCode::kInvalidArgument, "FILE_EMPTY",
                     absl::StrCat(path, ": empty, or not a regular file"), {{"path", path}});
  }
  const size_t size_bytes = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  ::close(fd);
  if (data == MAP_FAILED) return FileError(path, error);
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const std::byte*>(data), size_bytes));
}

MappedFile::~MappedFile() {
  guard_.reset();
  ::munmap(const_cast<std::byte*>(data_), size_bytes_);
}

absl::Status MappedFile::Check() const {
  if (!guard_->failed()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kDataLoss, "FILE_READ_FAILED",
                   absl::StrCat(path_, ": was truncated or could not be read while it was in use"),
                   {{"path", path_}});
}

void MappedFile::DropPages(size_t offset, size_t length) const {
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  if (offset >= size_bytes_) return;
  const size_t end = std::min(offset + length, size_bytes_) / page * page;
  const size_t begin = (offset + page - 1) / page * page;
  if (begin < end) {
    ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
  }
}

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  KVP_ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  if (file->bytes().size() > max_bytes) {
    return MakeError(
        absl::StatusCode::kOutOfRange, "FILE_TOO_LARGE",
        absl::StrCat(path, ": ", file->bytes().size(), " bytes, at most ", max_bytes, " are read"),
        {{"path", path}});
  }
  std::string text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  KVP_RETURN_IF_ERROR(file->Check());
  return text;
}

}  // namespace kvpareto
