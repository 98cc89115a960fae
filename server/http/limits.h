// What a client may take of an HTTP server's connections and patience.
#pragma once

#include <chrono>

namespace kvpareto::server::http {

struct Limits {
  int max_connections = 1024;  // more wait to be accepted
  // How long a client may take to send the rest of a request that it has begun, or to shake hands
  // over TLS; to begin another request; to take what is written.
  std::chrono::milliseconds read_timeout{60'000};
  std::chrono::milliseconds idle_timeout{60'000};
  std::chrono::milliseconds write_timeout{60'000};
};

}  // namespace kvpareto::server::http
