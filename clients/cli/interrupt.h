// Ctrl-C (SIGINT) and SIGTERM end the call in progress, not the process in the middle of a line.
#pragma once

namespace grpc {
class ClientContext;
}

namespace kvpareto::cli {

// Call once, before any other thread exists: from then on one thread waits for the two signals.
// With no call in progress a signal ends the process with status 130; a second one during a call,
// too.
void HandleInterrupts();

// Whether a signal has cancelled a call since the last CancelOnInterrupt was made.
bool Interrupted();

// While it lives, a signal cancels `context`. One at a time.
class CancelOnInterrupt {
 public:
  explicit CancelOnInterrupt(grpc::ClientContext* context);
  ~CancelOnInterrupt();
  CancelOnInterrupt(const CancelOnInterrupt&) = delete;
  CancelOnInterrupt& operator=(const CancelOnInterrupt&) = delete;
};

}  // namespace kvpareto::cli
