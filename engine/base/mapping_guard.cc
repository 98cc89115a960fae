#include "engine/base/mapping_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <cstdint>

namespace kvpareto {
namespace {

// Read by the signal handler: plain atomics in static storage, no locks.
struct Watched {
  std::atomic<bool> taken{false};
  std::atomic<uintptr_t> begin{0};  // 0: not watched yet, or not any more
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> failed{false};
};

std::array<Watched, 1024> watched;
struct sigaction previous;

void OnBusError(int number, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Watched& mapping : watched) {
    const uintptr_t begin = mapping.begin.load();
    if (begin == 0 || address < begin || address >= mapping.end.load()) continue;
    mapping.failed = true;
    void* const zeros = ::mmap(reinterpret_cast<void*>(begin), mapping.end.load() - begin,
                               PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (zeros != MAP_FAILED) return;  // the instruction runs again
  }
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    return previous.sa_sigaction(number, info, context);
  }
  ::signal(SIGBUS, SIG_DFL);  // the instruction runs again and ends the process
}

bool InstallHandler() {
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  ::sigaction(SIGBUS, &action, &previous);
  return true;
}

}  // namespace

MappingGuard::MappingGuard(const std::byte* data, size_t size_bytes) : slot_(-1) {
  static const bool installed = InstallHandler();
  (void)installed;
  for (size_t i = 0; i < watched.size(); ++i) {
    if (watched[i].taken.exchange(true)) continue;
    slot_ = static_cast<int>(i);
    watched[i].failed = false;
    watched[i].end = reinterpret_cast<uintptr_t>(data) + size_bytes;
    watched[i].begin = reinterpret_cast<uintptr_t>(data);
    return;
  }
}

MappingGuard::~MappingGuard() {
  if (slot_ < 0) return;
  watched[slot_].begin = 0;
  watched[slot_].taken = false;
}

bool MappingGuard::failed() const { return slot_ >= 0 && watched[slot_].failed; }

}  // namespace kvpareto
