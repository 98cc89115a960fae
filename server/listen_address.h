// Addresses to listen on, as the configuration writes them.
#pragma once

#include <string>

#include "server/status.h"

namespace kvpareto::server {

struct HostPort {
  std::string host;  // without brackets
  int port = 0;
};

// "127.0.0.1:8000", "[::1]:8000", "localhost:0". Errors: INVALID_ARGUMENT (CONFIG_INVALID).
absl::StatusOr<HostPort> ParseHostPort(const std::string& address);

// Whether only this machine can reach it: 127.0.0.0/8, ::1, "localhost" or a Unix socket.
bool IsLoopback(const std::string& address);

// UNAVAILABLE (LISTEN_FAILED).
absl::Status ListenFailed(const std::string& address, const std::string& why);

}  // namespace kvpareto::server
