#include "tests/support/safetensors_writer.h"

#include <nlohmann/json.hpp>

#include "tests/support/gguf_writer.h"

namespace kvpareto::support {

std::string SafetensorsFile(const std::string& header, const std::string& data) {
  std::string out;
  PutNumber<uint64_t>(out, header.size());
  return out + header + data;
}

std::string SafetensorsFile(const std::vector<SafetensorsEntry>& entries) {
  nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const SafetensorsEntry& entry : entries) {
    header[entry.name] = {{"dtype", entry.dtype},
                          {"shape", entry.shape},
                          {"data_offsets", {data.size(), data.size() + entry.data.size()}}};
    data.append(reinterpret_cast<const char*>(entry.data.data()), entry.data.size());
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the format aligns the data by spaces
  return SafetensorsFile(text, data);
}

}  // namespace kvpareto::support
