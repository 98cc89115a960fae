// One connection: requests one after the other, each answered by an Exchange. All of it runs on the
// server's thread.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/http/loop.h"
#include "server/http/server.h"

namespace kvpareto::server::http {

class ConnectionExchange;

// What all connections hold of requests together. Of the server's thread.
class InputBudget {
 public:
  explicit InputBudget(uint64_t max_bytes) : max_bytes_(max_bytes) {}
  // A connection's part becomes `bytes`; false: together they are too much.
  bool Change(uint64_t* part, uint64_t bytes) {
    used_bytes_ += bytes - *part;
    *part = bytes;
    return used_bytes_ <= max_bytes_;
  }

 private:
  const uint64_t max_bytes_;
  uint64_t used_bytes_ = 0;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  // What connections of one server share; outlives them. `closed` is called when one has ended.
  struct Shared {
    std::shared_ptr<Loop> loop;
    const Options* options;
    const Handler* handler;
    InputBudget* budget;
    std::function<void(Connection*)> closed;
  };
  Connection(Socket socket, std::shared_ptr<boost::asio::ssl::context> tls, const Shared* shared);

  void Start();
  // No request after the one that is being answered.
  void CloseWhenIdle();
  void Close();

  // Of the exchange in progress, or null for what no exchange counts.
  void Queue(std::string bytes, std::shared_ptr<ConnectionExchange> from);
  void AnswerComplete();
  bool keep_alive() const { return keep_alive_; }
  const std::shared_ptr<Loop>& loop() const { return shared_->loop; }

 private:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  struct Outgoing {
    std::string bytes;
    std::shared_ptr<ConnectionExchange> from;
  };

  Socket& socket() { return plain_.has_value() ? *plain_ : secure_->next_layer(); }
  void Arm(boost::asio::steady_timer* timer, std::chrono::milliseconds after,
           void (Connection::*expired)());
  void OnReadTimeout();
  void NewParser();
  void Read();
  void OnRead(boost::system::error_code error, size_t bytes);
  void Parse();
  bool InputFits();
  void RefuseUnparsed(boost::system::error_code error);
  void Refuse(int http_status, const absl::Status& error);
  void Dispatch();
  std::vector<std::string> PeerNames();
  void Write();
  void OnWritten(boost::system::error_code error);
  void Linger();

  // One of the two.
  std::optional<Socket> plain_;
  std::shared_ptr<boost::asio::ssl::context> tls_;
  std::optional<boost::asio::ssl::stream<Socket>> secure_;

  const Shared* const shared_;
  boost::asio::steady_timer read_timer_;
  boost::asio::steady_timer write_timer_;
  boost::beast::flat_buffer input_;
  std::optional<Parser> parser_;
  std::shared_ptr<ConnectionExchange> exchange_;  // in progress
  uint64_t exchange_bytes_ = 0;                   // its request's body
  uint64_t input_bytes_ = 0;                      // this connection's part of the budget
  std::deque<Outgoing> output_;
  bool reading_ = false;
  bool writing_ = false;
  bool receiving_ = false;  // a request has begun
  bool continue_sent_ = false;
  bool keep_alive_ = true;
  bool closing_ = false;  // after what is queued
  bool refused_ = false;  // and what is queued is a refusal
  bool closed_ = false;
};

// What handlers hold. Lives as long as they need it; the connection may be gone.
class ConnectionExchange final : public Exchange,
                                 public std::enable_shared_from_this<ConnectionExchange> {
 public:
  ConnectionExchange(std::shared_ptr<Connection> connection, Request request, bool chunks,
                     uint64_t max_queued_bytes);

  const Request& request() const override { return request_; }
  void Send(Response response) override;
  void Begin(Response response) override;
  bool Write(std::string part) override;
  void End(std::string last) override;
  void OnClosed(std::function<void()> closed) override { on_closed_ = std::move(closed); }

  void Closed();  // the client is gone
  void Written(size_t bytes) { queued_bytes_ -= bytes; }

 private:
  void Post(std::string bytes, bool last);

  const std::weak_ptr<Connection> connection_;
  const std::shared_ptr<Loop> loop_;
  const Request request_;
  const bool chunks_;  // HTTP/1.1
  const bool keep_alive_;
  const uint64_t max_queued_bytes_;
  std::atomic<uint64_t> queued_bytes_{0};
  // Of the server's thread.
  std::function<void()> on_closed_;
  bool complete_ = false;
};

}  // namespace kvpareto::server::http
