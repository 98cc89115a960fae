// One target as a libFuzzer program.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvpareto::fuzz::KVPARETO_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
