#include "tests/fuzz/fuzz_input.h"

#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace kvpareto::fuzz {
namespace {

constexpr std::string_view kSeparator = "=====\n";

bool BlamesInput(absl::StatusCode code) {
  return code == absl::StatusCode::kInvalidArgument || code == absl::StatusCode::kUnimplemented ||
         code == absl::StatusCode::kNotFound || code == absl::StatusCode::kFailedPrecondition ||
         code == absl::StatusCode::kOutOfRange || code == absl::StatusCode::kResourceExhausted;
}

}  // namespace

std::vector<std::string> Parts(std::string_view input, size_t count) {
  std::vector<std::string> parts(count);
  for (size_t i = 0; i + 1 < count; ++i) {
    const size_t at = input.find(kSeparator);
    parts[i] = std::string(input.substr(0, at));
    input.remove_prefix(at == input.npos ? input.size() : at + kSeparator.size());
  }
  parts.back() = std::string(input);
  return parts;
}

MemoryFile::MemoryFile(std::string_view bytes) : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  KVP_CHECK(fd_ >= 0) << "memfd_create";
  path_ = "/proc/self/fd/" + std::to_string(fd_);
  KVP_CHECK(::write(fd_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
}

MemoryFile::~MemoryFile() { ::close(fd_); }

void CheckRefusal(const absl::Status& status) {
  if (status.ok()) return;
  const auto info = GetErrorInfo(status);
  KVP_CHECK(info.has_value() && !info->reason.empty()) << "no reason: " << status;
  KVP_CHECK(BlamesInput(status.code())) << status;
  KVP_CHECK(!status.message().empty()) << info->reason << " without a message";
}

}  // namespace kvpareto::fuzz
