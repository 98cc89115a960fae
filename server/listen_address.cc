#include "server/listen_address.h"

#include <arpa/inet.h>

#include <charconv>

namespace kvpareto::server {

absl::StatusOr<HostPort> ParseHostPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  HostPort result;
  if (colon != std::string::npos) {
    result.host = address.substr(0, colon);
    const char* begin = address.data() + colon + 1;
    const char* end = address.data() + address.size();
    const auto [rest, error] = std::from_chars(begin, end, result.port);
    const std::string& host = result.host;
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed) result.host = host.substr(1, host.size() - 2);
    const bool one_meaning = bracketed || result.host.find_first_of("[]:") == std::string::npos;
    if (error == std::errc() && rest == end && begin != end && result.port >= 0 &&
        result.port <= 65535 && !result.host.empty() && one_meaning) {
      return result;
    }
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG_INVALID",
                   "\"" + address + "\" must be HOST:PORT, an IPv6 host in brackets");
}

bool IsLoopback(const std::string& address) {
  if (address.starts_with("unix:")) return true;
  const absl::StatusOr<HostPort> parsed = ParseHostPort(address);
  if (!parsed.ok()) return false;
  if (parsed->host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, parsed->host.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, parsed->host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status ListenFailed(const std::string& address, const std::string& why) {
  return MakeError(absl::StatusCode::kUnavailable, "LISTEN_FAILED",
                   "cannot listen on " + address + ": " + why, {{"address", address}});
}

}  // namespace kvpareto::server
