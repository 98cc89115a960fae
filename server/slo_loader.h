// Keeps the memory SLOs of a file in force: at the start, when the file changes, and when asked.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "server/models.h"
#include "server/status.h"

namespace kvpareto::server {

// What is in force, for metrics.
struct SloState {
  std::string content_hash;  // of the file's text, 16 hex digits; empty: there is no file
  uint64_t reloads_ok = 0;   // the first reading included
  uint64_t reloads_failed = 0;
};

// Thread-safe. A file that is changed or replaced (a Kubernetes ConfigMap swaps a symbolic link
// above it) is noticed by its content, once a second.
class SloLoader {
 public:
  // `models` and `service_classes` outlive the loader. Without a file (""), requests of every class
  // may take all, and Reload fails.
  SloLoader(std::string file, const Models* models, const std::set<std::string>* service_classes);
  ~SloLoader();

  // Reads the file and puts it in force for every model that it names; the others have no limits.
  // All or nothing. Errors: INVALID_ARGUMENT (SLO_INVALID) with file and line; of reading it;
  // FAILED_PRECONDITION (SLO_NOT_CONFIGURED). Then the old one stays in force.
  absl::Status Reload();
  // Watches the file from now on.
  void StartWatching();

  SloState state() const;

 private:
  absl::Status Check(const SloFile& file) const;
  absl::Status Apply(const std::string& yaml);
  void Watch();
  void Count(const absl::Status& status, const std::string& content_hash);

  const std::string file_;
  const Models* const models_;
  const std::set<std::string>* const service_classes_;

  std::mutex reload_mutex_;  // one reload at a time
  std::string seen_;         // text that was last read, good or bad; under reload_mutex_

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable stopped_;
  SloState state_;
  bool stop_ = false;

  std::thread watcher_;
};

}  // namespace kvpareto::server
