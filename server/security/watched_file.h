// A file that may be replaced while the server runs.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <utility>

namespace kvpareto::server::security {

// Not thread-safe.
class WatchedFile {
 public:
  explicit WatchedFile(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  // Whether it is another file, or has been written, since the last call that said so; the first
  // call does. Looks at the file system once a second at most.
  bool Changed() {
    const auto now = std::chrono::steady_clock::now();
    if (now - looked_at_ < std::chrono::seconds(1) && looked_at_ != Time{}) return false;
    looked_at_ = now;
    std::error_code ignored;
    const auto written = std::filesystem::last_write_time(path_, ignored);
    // Kubernetes replaces a link above the file, which may keep its time.
    const auto target = std::filesystem::canonical(path_, ignored);
    return std::exchange(seen_, {written, target}) != seen_;
  }

 private:
  using Time = std::chrono::steady_clock::time_point;

  std::string path_;
  Time looked_at_{};
  std::pair<std::filesystem::file_time_type, std::filesystem::path> seen_;
};

}  // namespace kvpareto::server::security
