#include "server/http/connection.h"

#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <cstdio>
#include <utility>

#include "server/security/peer_names.h"

namespace kvpareto::server::http {
namespace {

namespace asio = boost::asio;
namespace bhttp = boost::beast::http;
using boost::system::error_code;

constexpr size_t kReadBytes = size_t{16} << 10;
// Of requests that a client sends before the last one is answered; beyond that it has to wait.
constexpr size_t kMaxPipelinedBytes = size_t{64} << 10;
// For a client that is refused to read that while it still sends.
constexpr std::chrono::milliseconds kLinger{5'000};

std::string Head(const Response& response, bool keep_alive, const std::string& length) {
  std::string head = "HTTP/1.1 " + std::to_string(response.status) + " ";
  head += std::string(bhttp::obsolete_reason(bhttp::int_to_status(response.status)));
  head += "\r\nContent-Type: " + response.content_type + "\r\n" + length;
  // Nothing that is sent is meant to be kept, framed, or taken for another type.
  head += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
  for (const auto& [name, value] : response.headers) head += name + ": " + value + "\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

std::string Chunk(const std::string& part) {
  char size[24];
  std::snprintf(size, sizeof(size), "%zx\r\n", part.size());
  return size + part + "\r\n";
}

absl::Status TooLarge(const std::string& what, const std::string& reason, uint64_t max_bytes) {
  const std::string bytes = std::to_string(max_bytes);
  return MakeError(absl::StatusCode::kInvalidArgument, reason,
                   what + " must be at most " + bytes + " bytes", {{"max_bytes", bytes}});
}

void Disarm(asio::steady_timer* timer) { timer->expires_at(asio::steady_timer::time_point::max()); }

}  // namespace

Connection::Connection(Socket socket, std::shared_ptr<asio::ssl::context> tls, const Shared* shared)
    : tls_(std::move(tls)),
      shared_(shared),
      read_timer_(socket.get_executor()),
      write_timer_(socket.get_executor()) {
  error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  if (tls_ == nullptr) {
    plain_.emplace(std::move(socket));
  } else {
    secure_.emplace(std::move(socket), *tls_);
  }
}

void Connection::Start() {
  NewParser();
  Arm(&read_timer_, shared_->options->limits.read_timeout, &Connection::OnReadTimeout);
  if (!secure_.has_value()) return Read();
  secure_->async_handshake(asio::ssl::stream_base::server,
                           [self = shared_from_this()](error_code error) {
                             if (error) return self->Close();
                             self->Read();
                           });
}

void Connection::Arm(asio::steady_timer* timer, std::chrono::milliseconds after,
                     void (Connection::*expired)()) {
  timer->expires_after(after);
  timer->async_wait([self = shared_from_this(), timer, expired](error_code error) {
    // It may have run out just before it was set anew, or disarmed.
    if (!error && timer->expiry() <= std::chrono::steady_clock::now()) (self.get()->*expired)();
  });
}

void Connection::OnReadTimeout() {
  if (!receiving_ || closing_) return Close();
  const std::string ms = std::to_string(shared_->options->limits.read_timeout.count());
  Refuse(408, MakeError(absl::StatusCode::kDeadlineExceeded, "READ_TIMEOUT",
                        "the request did not arrive within " + ms + " ms", {{"timeout_ms", ms}}));
}

void Connection::NewParser() {
  parser_.emplace();
  parser_->eager(true);
  parser_->header_limit(static_cast<uint32_t>(shared_->options->max_header_bytes));
  parser_->body_limit(shared_->options->max_body_bytes);
  receiving_ = false;
  continue_sent_ = false;
}

// Always reading, also while an answer is in progress: that is how a client that goes is noticed.
void Connection::Read() {
  if (reading_ || closed_) return;
  if (exchange_ != nullptr && input_.size() >= kMaxPipelinedBytes) return;
  reading_ = true;
  const auto buffer = input_.prepare(kReadBytes);
  auto done = [self = shared_from_this()](error_code error, size_t bytes) {
    self->reading_ = false;
    self->OnRead(error, bytes);
  };
  if (plain_.has_value()) return plain_->async_read_some(buffer, std::move(done));
  secure_->async_read_some(buffer, std::move(done));
}

void Connection::OnRead(error_code error, size_t bytes) {
  if (error) return Close();
  input_.commit(bytes);
  if (closing_) input_.consume(input_.size());
  if (exchange_ == nullptr) Parse();
  Read();
}

void Connection::Parse() {
  while (exchange_ == nullptr && !closing_ && input_.size() > 0) {
    if (!std::exchange(receiving_, true)) {
      Arm(&read_timer_, shared_->options->limits.read_timeout, &Connection::OnReadTimeout);
    }
    error_code error;
    input_.consume(parser_->put(input_.data(), error));
    if (error && error != bhttp::error::need_more) return RefuseUnparsed(error);
    if (!InputFits()) {
      const uint64_t most = shared_->options->max_input_bytes;
      return Refuse(503, MakeError(absl::StatusCode::kUnavailable, "TOO_MUCH_INPUT",
                                   "too much is being received; try again",
                                   {{"max_bytes", std::to_string(most)}}));
    }
    if (parser_->is_done()) return Dispatch();
    if (parser_->is_header_done() && !std::exchange(continue_sent_, true) &&
        parser_->get()[bhttp::field::expect] == "100-continue") {
      Queue("HTTP/1.1 100 Continue\r\n\r\n", nullptr);
    }
    if (error) return;  // need_more
  }
}

bool Connection::InputFits() {
  const size_t body = parser_->get().body().capacity();
  return shared_->budget->Change(&input_bytes_, exchange_bytes_ + body + input_.capacity());
}

void Connection::RefuseUnparsed(error_code error) {
  if (error == bhttp::error::body_limit) {
    return Refuse(413, TooLarge("the body", "REQUEST_TOO_LARGE", shared_->options->max_body_bytes));
  }
  if (error == bhttp::error::header_limit) {
    return Refuse(431,
                  TooLarge("the headers", "HEADERS_TOO_LARGE", shared_->options->max_header_bytes));
  }
  Refuse(400, MakeError(absl::StatusCode::kInvalidArgument, "MALFORMED_REQUEST",
                        "this is not HTTP/1.1: " + error.message()));
}

void Connection::Refuse(int http_status, const absl::Status& error) {
  Response response{.content_type = "text/plain", .body = std::string(error.message()) + "\n"};
  if (shared_->options->refusal) response = shared_->options->refusal(error);
  response.status = http_status;
  keep_alive_ = false;
  closing_ = true;
  refused_ = true;
  Disarm(&read_timer_);
  const std::string length = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  Queue(Head(response, false, length) + response.body, nullptr);
}

std::vector<std::string> Connection::PeerNames() {
  if (!secure_.has_value()) return {};
  return security::NamesOfPeer(secure_->native_handle());
}

void Connection::Dispatch() {
  Disarm(&read_timer_);
  auto message = parser_->release();
  // An answer to HEAD would have no body, of which handlers know nothing.
  const bool chunks = message.version() >= 11;
  keep_alive_ = message.keep_alive() && chunks && message.method() != bhttp::verb::head;
  const std::string target(message.target());
  Request request{.method = std::string(message.method_string()),
                  .path = target.substr(0, target.find('?')),
                  .body = std::move(message.body()),
                  .authorization = std::string(message[bhttp::field::authorization]),
                  .service_class = std::string(message["x-kvpareto-class"]),
                  .peer_names = PeerNames()};
  exchange_bytes_ = request.body.capacity();
  exchange_ = std::make_shared<ConnectionExchange>(shared_from_this(), std::move(request), chunks,
                                                   shared_->options->max_queued_bytes);
  NewParser();
  (*shared_->handler)(exchange_);
}

void Connection::Queue(std::string bytes, std::shared_ptr<ConnectionExchange> from) {
  if (closed_) return;
  output_.push_back({std::move(bytes), std::move(from)});
  if (!writing_) Write();
}

void Connection::Write() {
  if (closed_) return;
  writing_ = true;
  Arm(&write_timer_, shared_->options->limits.write_timeout, &Connection::Close);
  const auto buffer = asio::buffer(output_.front().bytes);
  auto done = [self = shared_from_this()](error_code error, size_t) { self->OnWritten(error); };
  if (plain_.has_value()) return asio::async_write(*plain_, buffer, std::move(done));
  asio::async_write(*secure_, buffer, std::move(done));
}

void Connection::OnWritten(error_code error) {
  writing_ = false;
  Disarm(&write_timer_);
  if (error || closed_) return Close();
  const Outgoing& sent = output_.front();
  if (sent.from != nullptr) sent.from->Written(sent.bytes.size());
  output_.pop_front();
  if (!output_.empty()) return Write();
  if (!closing_ || exchange_ != nullptr) return;
  if (refused_) return Linger();
  Close();
}

// If the socket were closed while the client still sends, its system would drop what it has not
// read of the answer.
void Connection::Linger() {
  error_code ignored;
  socket().shutdown(Socket::shutdown_send, ignored);
  Arm(&read_timer_, kLinger, &Connection::Close);
}

void Connection::AnswerComplete() {
  exchange_ = nullptr;
  exchange_bytes_ = 0;
  InputFits();
  if (!keep_alive_) closing_ = true;
  if (closing_) {
    if (!writing_) Close();
    return;
  }
  Arm(&read_timer_, shared_->options->limits.idle_timeout, &Connection::OnReadTimeout);
  Parse();
  Read();
}

void Connection::CloseWhenIdle() {
  closing_ = true;
  if (exchange_ == nullptr && !writing_) Close();
}

void Connection::Close() {
  if (std::exchange(closed_, true)) return;
  const auto self = shared_from_this();
  read_timer_.cancel();
  write_timer_.cancel();
  error_code ignored;
  socket().shutdown(Socket::shutdown_both, ignored);
  socket().close(ignored);
  if (exchange_ != nullptr) std::exchange(exchange_, nullptr)->Closed();
  shared_->budget->Change(&input_bytes_, 0);
  shared_->closed(this);
}

ConnectionExchange::ConnectionExchange(std::shared_ptr<Connection> connection, Request request,
                                       bool chunks, uint64_t max_queued_bytes)
    : connection_(connection),
      loop_(connection->loop()),
      request_(std::move(request)),
      chunks_(chunks),
      keep_alive_(connection->keep_alive()),
      max_queued_bytes_(max_queued_bytes) {}

void ConnectionExchange::Post(std::string bytes, bool last) {
  queued_bytes_ += bytes.size();
  loop_->Post([self = shared_from_this(), bytes = std::move(bytes), last]() mutable {
    if (self->complete_) return;
    self->complete_ = last;
    if (last) self->on_closed_ = nullptr;
    const std::shared_ptr<Connection> connection = self->connection_.lock();
    if (connection == nullptr) return;
    if (!bytes.empty()) connection->Queue(std::move(bytes), self);
    if (last) connection->AnswerComplete();
  });
}

void ConnectionExchange::Send(Response response) {
  const std::string length = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  Post(Head(response, keep_alive_, length) + response.body, true);
}

void ConnectionExchange::Begin(Response response) {
  // Without chunks (HTTP/1.0) the end of the connection is the end of the answer.
  std::string bytes = Head(response, keep_alive_, chunks_ ? "Transfer-Encoding: chunked\r\n" : "");
  if (!response.body.empty()) bytes += chunks_ ? Chunk(response.body) : response.body;
  Post(std::move(bytes), false);
}

bool ConnectionExchange::Write(std::string part) {
  if (part.empty()) return true;  // an empty chunk would be the end
  if (queued_bytes_ > 0 && queued_bytes_ + part.size() > max_queued_bytes_) return false;
  Post(chunks_ ? Chunk(part) : std::move(part), false);
  return true;
}

void ConnectionExchange::End(std::string last) {
  if (chunks_) last = (last.empty() ? "" : Chunk(last)) + "0\r\n\r\n";
  Post(std::move(last), true);
}

void ConnectionExchange::Closed() {
  complete_ = true;
  if (on_closed_) std::exchange(on_closed_, nullptr)();
}

}  // namespace kvpareto::server::http
