// Where the server's certificates are.
#pragma once

#include <string>

namespace kvpareto::server::security {

// Paths of PEM files.
struct TlsFiles {
  std::string certificate;  // the server's, with its chain; empty: no TLS
  std::string key;
  std::string client_ca;  // clients need a certificate that it signed; empty: they need none

  bool enabled() const { return !certificate.empty(); }
};

}  // namespace kvpareto::server::security
