// config.json, tokenizer.json and model.safetensors as the three parts of an input.
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/read_model.h"
#include "tests/fuzz/targets.h"
#include "tests/support/temp_dir.h"

void kvpareto::fuzz::HfDirectory(std::string_view input) {
  static const support::TempDir directory;
  const std::vector<std::string> parts = Parts(input, 3);
  support::WriteBytes(directory.File("config.json"), parts[0]);
  support::WriteBytes(directory.File("tokenizer.json"), parts[1]);
  support::WriteBytes(directory.File("model.safetensors"), parts[2]);
  OpenAndRead(directory.path());
}
