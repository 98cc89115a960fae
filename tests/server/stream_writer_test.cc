// Calls of the writer from several threads, with a reactor that shows when gRPC would be called.
#include "server/stream_writer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

namespace kvpareto::server {
namespace {

class Reactor {
 public:
  void StartWrite(const grpc::ByteBuffer*) {
    in_write_ = true;
    entered_.set_value();
    leave_.get_future().wait();
    in_write_ = false;
  }
  void Finish(const grpc::Status&) {
    EXPECT_FALSE(in_write_) << "finished while a write is being started";
    ++finished_;
  }

  void WaitForWrite() { entered_.get_future().wait(); }
  void Leave() { leave_.set_value(); }
  int finished() const { return finished_; }

 private:
  std::atomic<bool> in_write_ = false;
  std::atomic<int> finished_ = 0;
  std::promise<void> entered_, leave_;
};

grpc::ByteBuffer Message() {
  const grpc::Slice slice("text");
  return grpc::ByteBuffer(&slice, 1);
}

TEST(StreamWriter, ACallThatIsCancelledWhileAWriteIsStartedEndsAfterIt) {
  Reactor reactor;
  grpc::CallbackServerContext context;
  StreamWriter<Reactor> writer(&reactor, &context, 1024);
  std::thread engine([&] { writer.Push(Message()); });
  reactor.WaitForWrite();
  writer.Abandon();
  writer.End(absl::OkStatus());
  EXPECT_EQ(reactor.finished(), 0);
  reactor.Leave();
  engine.join();
  EXPECT_EQ(reactor.finished(), 1);
}

TEST(StreamWriter, ACallEndsAfterWhatIsQueued) {
  Reactor reactor;
  grpc::CallbackServerContext context;
  StreamWriter<Reactor> writer(&reactor, &context, 1024);
  reactor.Leave();
  writer.Push(Message());
  writer.End(absl::OkStatus());
  EXPECT_EQ(reactor.finished(), 0);
  writer.OnWriteDone(true);
  EXPECT_EQ(reactor.finished(), 1);
}

}  // namespace
}  // namespace kvpareto::server
