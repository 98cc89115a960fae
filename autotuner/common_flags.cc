#include "autotuner/common_flags.h"

#include <fstream>
#include <sstream>

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, model, "", "GGUF file or Hugging Face directory");
ABSL_FLAG(std::string, text, "", "UTF-8 text file to measure on");
ABSL_FLAG(std::string, out, "", "file to write");
ABSL_FLAG(int, threads, 0, "0: one per core");
ABSL_FLAG(int, kv_capacity_mib, 1024, "memory for KV caches");

namespace kvpareto::tune {

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream content;
  if (!in || !(content << in.rdbuf())) {
    return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_READABLE", "cannot read " + path,
                     {{"path", path}});
  }
  return content.str();
}

absl::Status WriteTextFile(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary);
  out << content;
  out.close();
  if (out) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE", "cannot write " + path,
                   {{"path", path}});
}

}  // namespace kvpareto::tune
