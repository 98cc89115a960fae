#include "server/http/server.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "server/http/connection.h"
#include "server/listen_address.h"

namespace kvpareto::server::http {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class AsioServer final : public Server {
 public:
  AsioServer(const Options& options, Handler handler)
      : options_(options), handler_(std::move(handler)) {}
  ~AsioServer() override {
    Stop(std::chrono::milliseconds(0));
    loop_->Detach();
  }

  absl::Status Listen() {
    error_code error;
    KVP_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(options_.address));
    tcp::resolver resolver(io_);
    const auto found =
        resolver.resolve(address.host, std::to_string(address.port),
                         tcp::resolver::passive | tcp::resolver::numeric_service, error);
    if (error || found.empty()) return ListenFailed(options_.address, error.message());
    const tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (error) return ListenFailed(options_.address, error.message());
    port_ = acceptor_.local_endpoint().port();
    Accept();
    thread_ = std::thread([this] { io_.run(); });
    return absl::OkStatus();
  }

  int port() const override { return port_; }

  void Stop(std::chrono::milliseconds grace) override {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] { BeginStop(); });
    {
      std::unique_lock lock(mutex_);
      idle_.wait_for(lock, grace, [this] { return connections_empty_ && stopping_; });
    }
    asio::post(io_, [this] { CloseAll(); });
    thread_.join();
  }

 private:
  void Accept() {
    if (accepting_ || stop_begun_ ||
        connections_.size() >= static_cast<size_t>(options_.limits.max_connections))
      return;
    accepting_ = true;
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      accepting_ = false;
      if (!error) StartConnection(std::move(socket));
      if (!error || error != asio::error::operation_aborted) Accept();
    });
  }

  void StartConnection(tcp::socket socket) {
    auto tls = options_.tls ? options_.tls() : nullptr;
    // Without a certificate nothing is served in clear text instead.
    if (options_.tls && tls == nullptr) return;
    const auto connection =
        std::make_shared<Connection>(std::move(socket), std::move(tls), &shared_);
    connections_.insert(connection);
    PublishEmpty();
    connection->Start();
  }

  void Forget(Connection* connection) {
    connections_.erase(connection->shared_from_this());
    PublishEmpty();
    Accept();
  }

  void PublishEmpty() {
    const std::lock_guard lock(mutex_);
    connections_empty_ = connections_.empty();
    stopping_ = stop_begun_;
    idle_.notify_all();
  }

  void BeginStop() {
    stop_begun_ = true;
    error_code ignored;
    acceptor_.close(ignored);
    for (const auto& connection : std::set(connections_)) connection->CloseWhenIdle();
    PublishEmpty();
  }

  void CloseAll() {
    for (const auto& connection : std::set(connections_)) connection->Close();
    io_.stop();
  }

  const Options options_;
  const Handler handler_;
  asio::io_context io_{1};
  const std::shared_ptr<Loop> loop_ = std::make_shared<Loop>(&io_);
  tcp::acceptor acceptor_{io_};
  int port_ = 0;
  // Of the server's thread.
  InputBudget budget_{options_.max_input_bytes};
  const Connection::Shared shared_{.loop = loop_,
                                   .options = &options_,
                                   .handler = &handler_,
                                   .budget = &budget_,
                                   .closed = [this](Connection* closed) { Forget(closed); }};
  std::set<std::shared_ptr<Connection>> connections_;
  bool accepting_ = false;
  bool stop_begun_ = false;

  std::mutex mutex_;
  std::condition_variable idle_;
  bool connections_empty_ = true;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options, Handler handler) {
  auto server = std::make_unique<AsioServer>(options, std::move(handler));
  KVP_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace kvpareto::server::http
