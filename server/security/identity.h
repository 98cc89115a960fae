// Who may call, and what for: the identities file.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "server/status.h"

namespace kvpareto::server::security {

using Sha256 = std::array<uint8_t, 32>;
Sha256 HashOf(std::string_view text);

// Someone that the file names, by a token's hash or by a name in a client certificate.
struct Identity {
  std::string name;                  // for logs
  std::vector<Sha256> token_hashes;  // of bearer tokens
  std::vector<std::string> certificates;
  std::vector<std::string> classes;  // the first is for requests that name none; empty: any class
  bool admin = false;
};

// Errors: INVALID_ARGUMENT (CONFIG_INVALID) with file, line and key, also for a class that is not
// one of `service_classes`.
absl::StatusOr<std::vector<Identity>> ParseIdentities(const std::string& yaml,
                                                      const std::string& file_name,
                                                      const std::set<std::string>& service_classes);

}  // namespace kvpareto::server::security
