#include "engine/model/calibration.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::Calibration(std::string_view input) {
  ModelConfig model;
  model.layers = 2;
  model.kv_heads = 1;
  model.head_dim = 16;
  const MemoryFile file(input);
  CheckRefusal(LoadCalibration(file.path(), model, "0123456789abcdef").status());
}
