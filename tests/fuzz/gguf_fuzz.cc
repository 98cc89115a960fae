#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/read_model.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::Gguf(std::string_view input) {
  const MemoryFile file(input);
  OpenAndRead(file.path());
}
