// Command-line arguments of one subcommand: a table of flags, parsed once, read with a type.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kvpareto::cli {

struct Flag {
  std::string_view name;   // without dashes; a name of one letter is also written -x
  std::string_view value;  // what to call its value in the help; empty: a switch without one
  std::string_view help;
};

// Flags that every command takes, and that may also stand before the command.
extern const std::vector<Flag> kGlobalFlags;

class Args {
 public:
  // `words` are those after the command; `flags` its own flags. Accepts --name value, --name=value,
  // and "--" before words that start with a dash. Errors: INVALID_ARGUMENT naming the word.
  static absl::StatusOr<Args> Parse(std::span<const Flag> flags,
                                    std::span<const std::string> words);

  bool Has(std::string_view name) const;
  // Every value of a repeatable flag, in order.
  std::vector<std::string> All(std::string_view name) const;
  // The last value, or `fallback`.
  std::string Text(std::string_view name, std::string_view fallback = "") const;
  const std::vector<std::string>& words() const { return words_; }

  // Each leaves *out alone when the flag is absent. Errors: INVALID_ARGUMENT naming flag and value.
  absl::Status Read(std::string_view name, int64_t* out) const;
  absl::Status Read(std::string_view name, uint64_t* out) const;
  absl::Status Read(std::string_view name, int32_t* out) const;
  absl::Status Read(std::string_view name, double* out) const;

 private:
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> words_;
};

// One aligned line per flag, each ending in a newline.
std::string FlagHelp(std::span<const Flag> flags);

}  // namespace kvpareto::cli
