// Who a client's certificate names.
#pragma once

#include <openssl/ssl.h>

#include <string>
#include <vector>

namespace kvpareto::server::security {

// The DNS names, URIs and e-mail addresses of the peer's certificate (subjectAltName), then its
// common name; none without a certificate. Only of a connection whose certificate was verified.
std::vector<std::string> NamesOfPeer(SSL* connection);

}  // namespace kvpareto::server::security
