// Writes safetensors files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kvpareto::support {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // "F32", "F16", "BF16", "I32"
  std::vector<int64_t> shape;
  std::vector<std::byte> data;
};
std::string SafetensorsFile(const std::vector<SafetensorsEntry>& entries);

// A file of any header text and data.
std::string SafetensorsFile(const std::string& header, const std::string& data);

}  // namespace kvpareto::support
