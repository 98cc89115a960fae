#include "autotuner/common_flags.h"

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, model, "", "GGUF file or Hugging Face directory");
ABSL_FLAG(std::string, text, "", "UTF-8 text file to measure on");
ABSL_FLAG(std::string, out, "", "file to write");
ABSL_FLAG(int, threads, 0, "0: one per core");
ABSL_FLAG(int, kv_capacity_mib, 1024, "memory for KV caches");
