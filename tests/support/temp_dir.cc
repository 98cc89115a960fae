#include "tests/support/temp_dir.h"

#include <fstream>
#include <sstream>

namespace kvpareto::support {

void WriteBytes(const std::string& path, const std::string& bytes) {
  // A new file, not a truncated one: the old one may be mapped, and ext4 flushes a truncated file
  // to disk when it is closed (model_test: 70 s instead of 5 s).
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  KVP_CHECK(file.good()) << path;
}

std::string ReadBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  KVP_CHECK(file.good()) << path;
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

}  // namespace kvpareto::support
