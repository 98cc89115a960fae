// What a long measurement has found so far, on disk: an interrupted run goes on where it stopped.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

// A file of JSON lines, only ever appended to: {"key": ..., "what": ..., "values": [...]}, or
// "failed": a reason instead of values, for an outcome that is not to be tried again. Keys name
// what was measured by its content (KeyOf), so a record is right whatever else has changed; "what"
// is for people. A line that an interruption has cut is ignored.
class Journal {
 public:
  // Reads what is there, if anything, and opens for appending. Errors: INTERNAL
  // (FILE_NOT_WRITABLE).
  static absl::StatusOr<Journal> Open(const std::string& path);

  // Null when it has not been measured. Numbers that were not finite are NaN.
  const std::vector<double>* Find(const std::string& key) const;
  // Null when it has not failed.
  const std::string* FindFailure(const std::string& key) const;
  // Records written since it was opened.
  int64_t appended() const { return appended_; }
  // The record is with the operating system when this returns. Errors: INTERNAL
  // (FILE_NOT_WRITABLE).
  absl::Status Append(const std::string& key, std::vector<double> values,
                      const std::string& what = "");
  absl::Status AppendFailure(const std::string& key, const std::string& reason,
                             const std::string& what);

 private:
  void Read(const std::string& line);
  absl::Status Write(const std::string& line);

  std::string path_;
  std::ofstream out_;
  std::map<std::string, std::vector<double>> records_;
  std::map<std::string, std::string> failures_;
  int64_t appended_ = 0;
};

// A key from all that a result depends on.
std::string KeyOf(const std::vector<std::string>& parts);

// Of tokens: what they are, not where they came from.
std::string TokensDigest(const std::vector<int32_t>& tokens);

}  // namespace kvpareto::tune
