// What happens when a mapped file cannot be read: it was truncated, or its device failed. The
// kernel then sends SIGBUS to the thread that touches a page. Instead of ending the process, the
// page's whole mapping becomes zeros and is marked: whoever reads from it goes on to where it asks.
#pragma once

#include <atomic>
#include <cstddef>

namespace kvpareto {

// Watches over one mapping. Thread-safe. Installs the process's handler for SIGBUS on first use;
// faults at other addresses go to the handler that was there before.
class MappingGuard {
 public:
  MappingGuard(const std::byte* data, size_t size_bytes);
  ~MappingGuard();
  MappingGuard(const MappingGuard&) = delete;
  MappingGuard& operator=(const MappingGuard&) = delete;

  // A read has failed since the mapping was made: what was read is worth nothing.
  bool failed() const;

 private:
  int slot_;  // -1: there are too many mappings, this one is not watched
};

}  // namespace kvpareto
