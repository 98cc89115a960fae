#include "clients/cli/interrupt.h"

#include <grpcpp/client_context.h>
#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <thread>

namespace kvpareto::cli {
namespace {

constexpr int kInterruptedExit = 130;  // 128 + SIGINT, as shells have it

struct State {
  std::mutex mutex;
  grpc::ClientContext* context = nullptr;  // of the call in progress
  bool interrupted = false;
};

State& Shared() {
  static State* const state = new State;  // outlives the waiting thread, which never ends
  return *state;
}

void WaitForSignals(sigset_t signals) {
  while (true) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    std::unique_lock lock(Shared().mutex);
    if (Shared().context == nullptr || Shared().interrupted) {
      // Leaves a shell's prompt on a line of its own; no destructors: other threads are running.
      [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, "\n", 1);
      _exit(kInterruptedExit);
    }
    Shared().interrupted = true;
    Shared().context->TryCancel();
  }
}

}  // namespace

void HandleInterrupts() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread(WaitForSignals, signals).detach();
}

bool Interrupted() {
  std::scoped_lock lock(Shared().mutex);
  return Shared().interrupted;
}

CancelOnInterrupt::CancelOnInterrupt(grpc::ClientContext* context) {
  std::scoped_lock lock(Shared().mutex);
  Shared().context = context;
  Shared().interrupted = false;
}

CancelOnInterrupt::~CancelOnInterrupt() {
  std::scoped_lock lock(Shared().mutex);
  Shared().context = nullptr;
}

}  // namespace kvpareto::cli
