// A small HTTP/1.1 server on Boost.Asio and Beast's parser: keep-alive, chunked answers, TLS;
// limits on sizes, connections and time; it notices clients that go while they wait.
//
// One thread does all input and output of all connections. Handlers answer from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "server/http/exchange.h"
#include "server/http/limits.h"
#include "server/status.h"

namespace boost::asio::ssl {
class context;
}

namespace kvpareto::server::http {

struct Options {
  std::string address;  // "127.0.0.1:8000", "[::1]:8000"; port 0: a free one
  // The context for the next connection; none: clear text. Called on the server's thread.
  std::function<std::shared_ptr<boost::asio::ssl::context>()> tls;
  uint64_t max_body_bytes = uint64_t{16} << 20;
  uint64_t max_header_bytes = uint64_t{16} << 10;
  uint64_t max_queued_bytes = uint64_t{256} << 10;  // of one answer, for a slow reader
  // Of all requests that are being received or answered; one beyond it is refused with a 503.
  uint64_t max_input_bytes = uint64_t{256} << 20;
  Limits limits;
  // The answer to what no handler sees (malformed, too large, too slow), but for its status. None:
  // plain text.
  std::function<Response(const absl::Status& error)> refusal;
};

class Server {
 public:
  // Errors: UNAVAILABLE (LISTEN_FAILED) naming the address.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options, Handler handler);
  // Closes what is still open.
  virtual ~Server() = default;
  virtual int port() const = 0;
  // Takes no more requests; returns when running answers are complete or `grace` has passed.
  virtual void Stop(std::chrono::milliseconds grace) = 0;
};

}  // namespace kvpareto::server::http
