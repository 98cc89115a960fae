#include "engine/model/safetensors.h"
#include "engine/ops/dequantize_rows.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::Safetensors(std::string_view input) {
  std::map<std::string, std::string> metadata;
  const auto tensors = ParseSafetensors(std::as_bytes(std::span(input)), &metadata);
  CheckRefusal(tensors.status());
  if (!tensors.ok()) return;
  for (const TensorView& tensor : *tensors) {
    if (tensor.type != TensorType::kI32) DequantizeAll(tensor);  // codes are no values
  }
}
