// Connections that a test can cut, as the operating system does when a process ends.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/channel.h>
#include <grpcpp/create_channel_posix.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>

#include "engine/base/check.h"

namespace kvpareto::reliability {

// A socket that is connected to a port of this machine. `receive_bytes`: a small buffer for what
// is not read, here and, by small segments, at the sender, whose own buffer grows with them; 0: the
// system's defaults.
inline int ConnectTo(int port, int receive_bytes = 0) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  KVP_CHECK(fd >= 0);
  if (receive_bytes > 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    const int segment_bytes = 1024;
    ::setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment_bytes, sizeof(segment_bytes));
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  KVP_CHECK(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  return fd;
}

// A channel over one connection.
class CuttableChannel {
 public:
  explicit CuttableChannel(int port) {
    const int fd = ConnectTo(port);
    own_fd_ = ::dup(fd);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    // With bandwidth probing, gRPC may grow the client's window beyond the whole answer.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    channel_ = grpc::CreateCustomInsecureChannelFromFd("loopback", fd, arguments);
  }
  ~CuttableChannel() { ::close(own_fd_); }
  CuttableChannel(const CuttableChannel&) = delete;
  CuttableChannel& operator=(const CuttableChannel&) = delete;

  const std::shared_ptr<grpc::Channel>& get() const { return channel_; }
  void Cut() { ::shutdown(own_fd_, SHUT_RDWR); }

 private:
  int own_fd_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace kvpareto::reliability
