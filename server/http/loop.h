// The server's thread as other threads see it: they may outlive it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <utility>

namespace kvpareto::server::http {

class Loop {
 public:
  explicit Loop(boost::asio::io_context* io) : io_(io) {}

  // Runs `work` on the server's thread; drops it when that has ended.
  template <typename Work>
  void Post(Work work) {
    const std::lock_guard lock(mutex_);
    if (io_ != nullptr) boost::asio::post(*io_, std::move(work));
  }
  void Detach() {
    const std::lock_guard lock(mutex_);
    io_ = nullptr;
  }

 private:
  std::mutex mutex_;
  boost::asio::io_context* io_;
};

}  // namespace kvpareto::server::http
