// KVP_CHECK(condition) << "detail": aborts with file, line and message when a broken invariant of
// our own is found. Never used on anything that comes from a request or a file.
#pragma once

#include <cstdlib>
#include <iostream>
#include <sstream>

namespace kvpareto::internal {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    stream_ << file << ":" << line << ": check failed: " << condition << " ";
  }
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;
  [[noreturn]] ~CheckFailure() {
    std::cerr << stream_.str() << std::endl;
    std::abort();
  }
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

struct Voidify {
  void operator&(std::ostream&) {}
};

}  // namespace kvpareto::internal

#define KVP_CHECK(condition)                      \
  (condition) ? (void)0                           \
              : ::kvpareto::internal::Voidify() & \
                    ::kvpareto::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
