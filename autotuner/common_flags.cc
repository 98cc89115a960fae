#include "autotuner/common_flags.h"

#include <filesystem>

#include "absl/flags/flag.h"
#include "absl/strings/str_split.h"

ABSL_FLAG(std::string, model, "", "GGUF file or Hugging Face directory");
ABSL_FLAG(std::string, text, "", "UTF-8 text file to measure on");
ABSL_FLAG(std::string, out, "", "file to write");
ABSL_FLAG(int, threads, 0, "0: one per core");
ABSL_FLAG(int, kv_capacity_mib, 1024, "memory for KV caches");

namespace kvpareto::tune {

absl::StatusOr<std::vector<NamedText>> TextsFlag() {
  const std::string list = absl::GetFlag(FLAGS_text);
  const std::vector<std::string> paths = absl::StrSplit(list, ',', absl::SkipEmpty());
  std::vector<NamedText> texts;
  for (const std::string& path : paths) {
    KVP_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
    texts.push_back({std::filesystem::path(path).filename().string(), std::move(text)});
  }
  if (texts.empty()) return absl::InvalidArgumentError("--text is missing");
  return texts;
}

}  // namespace kvpareto::tune
