#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/measure.h"

ABSL_FLAG(std::string, configs, "",
          "file of configs to try, one \"NAME CONFIG\" a line; empty: the built-in list");
ABSL_FLAG(std::vector<std::string>, recent, (std::vector<std::string>{"0", "128"}),
          "recent windows of the built-in list, in tokens");
ABSL_FLAG(std::vector<std::string>, chunks, (std::vector<std::string>{"128", "256", "512"}),
          "prefill chunks of the built-in list, in tokens");
ABSL_FLAG(std::vector<std::string>, contexts, (std::vector<std::string>{"1024", "2048", "4096"}),
          "upper ends of the accuracy buckets, in tokens, ascending");
ABSL_FLAG(int, windows, 4, "windows of text, each as long as the largest context");
ABSL_FLAG(int, decode_tokens, 256,
          "N: count accuracy in the last N tokens of each context, decoded; 0: in prefill chunks");
ABSL_FLAG(int64_t, speed_context, 0,
          "depth at which speed is measured; 0: 2048 or the largest context, if that is less");
ABSL_FLAG(int, speed_repeats, 3, "speed is the median of so many runs");
ABSL_FLAG(bool, keep_dominated, false, "write every row, not only the frontier");
ABSL_FLAG(int, reference_mib, 1024, "memory for the reference's distributions");
ABSL_FLAG(
    std::string, calibration, "",
    "file from `kvpareto-tune calibrate`; configs that need what it does not hold are left out");

namespace kvpareto::tune {
namespace {

template <typename Int>
absl::StatusOr<std::vector<Int>> ParseNumbers(const std::vector<std::string>& texts,
                                              const std::string& flag) {
  std::vector<Int> numbers;
  for (const std::string& text : texts) {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < 0 || value > 1'000'000'000) {
      return absl::InvalidArgumentError("--" + flag + ": \"" + text + "\" is not a number");
    }
    numbers.push_back(static_cast<Int>(value));
  }
  return numbers;
}

absl::StatusOr<std::vector<NamedConfig>> ReadConfigs() {
  const std::string path = absl::GetFlag(FLAGS_configs);
  if (!path.empty()) {
    KVP_ASSIGN_OR_RETURN(const std::string list, ReadTextFile(path));
    auto configs = ParseConfigList(list);
    return configs.ok() ? configs : Annotate(configs.status(), path);
  }
  ConfigGrid grid;
  KVP_ASSIGN_OR_RETURN(grid.recent_tokens,
                       ParseNumbers<int>(absl::GetFlag(FLAGS_recent), "recent"));
  KVP_ASSIGN_OR_RETURN(grid.chunk_tokens, ParseNumbers<int>(absl::GetFlag(FLAGS_chunks), "chunks"));
  return BuiltInConfigs(grid);
}

absl::StatusOr<MeasureOptions> OptionsFromFlags(const std::string& command) {
  MeasureOptions options;
  options.command = command;
  options.model_path = absl::GetFlag(FLAGS_model);
  const std::string text_path = absl::GetFlag(FLAGS_text);
  KVP_ASSIGN_OR_RETURN(options.text, ReadTextFile(text_path));
  options.text_name = std::filesystem::path(text_path).filename().string();
  KVP_ASSIGN_OR_RETURN(options.configs, ReadConfigs());
  KVP_ASSIGN_OR_RETURN(options.accuracy.contexts,
                       ParseNumbers<int64_t>(absl::GetFlag(FLAGS_contexts), "contexts"));
  options.windows = absl::GetFlag(FLAGS_windows);
  options.accuracy.decode_tokens = absl::GetFlag(FLAGS_decode_tokens);
  options.accuracy.reference_bytes = uint64_t(absl::GetFlag(FLAGS_reference_mib)) << 20;
  const int64_t longest = options.accuracy.contexts.empty() ? 0 : options.accuracy.contexts.back();
  const int64_t speed_context = absl::GetFlag(FLAGS_speed_context);
  options.speed.context_tokens =
      speed_context > 0 ? speed_context : std::min<int64_t>(2048, longest);
  options.speed.repeats = absl::GetFlag(FLAGS_speed_repeats);
  options.keep_dominated = absl::GetFlag(FLAGS_keep_dominated);
  options.kv_capacity_bytes = uint64_t(absl::GetFlag(FLAGS_kv_capacity_mib)) << 20;
  options.threads = absl::GetFlag(FLAGS_threads);
  options.calibration_path = absl::GetFlag(FLAGS_calibration);
  if (absl::GetFlag(FLAGS_reference_mib) < 1 || absl::GetFlag(FLAGS_kv_capacity_mib) < 1) {
    return absl::InvalidArgumentError("--reference_mib and --kv_capacity_mib must be positive");
  }
  return options;
}

}  // namespace

absl::Status RunMeasure(const std::string& command) {
  const std::string out_path = absl::GetFlag(FLAGS_out);
  if (out_path.empty()) return absl::InvalidArgumentError("--out is missing");
  KVP_ASSIGN_OR_RETURN(const MeasureOptions options, OptionsFromFlags(command));
  KVP_ASSIGN_OR_RETURN(const ParetoTable table, Measure(options));
  KVP_RETURN_IF_ERROR(WriteTextFile(out_path, FormatParetoTable(table)));
  std::cerr << table.rows.size() << " rows written to " << out_path << "\n";
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
