#include "autotuner/provenance.h"

#include <ctime>
#include <fstream>
#include <thread>

#include "autotuner/sha256.h"

namespace kvpareto::tune {
namespace {

std::string CpuName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

}  // namespace

std::string ToolVersion() { return "kvpareto-tune " KVPARETO_VERSION; }

std::string Today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[sizeof("2000-01-01")];
  std::strftime(text, sizeof(text), "%Y-%m-%d", &utc);
  return text;
}

std::string MachineText(const ModelInfo& model, int threads) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  return CpuName() + ", " + std::to_string(threads) + " threads, " + model.backend;
}

TableProvenance MakeProvenance(const MeasureOptions& options, const ModelInfo& model) {
  const std::string counted = options.accuracy.decode_tokens > 0
                                  ? "the last " + std::to_string(options.accuracy.decode_tokens) +
                                        " tokens of each context, decoded"
                                  : "prefill chunks";
  return {.command = options.command,
          .date = Today(),
          .machine = MachineText(model, options.threads),
          .text = options.text_name + " (sha256 " + Sha256Hex(options.text) + "), " +
                  std::to_string(options.windows) + " windows of " +
                  std::to_string(options.accuracy.contexts.back()) + " tokens, counted in " +
                  counted,
          .tool_version = ToolVersion()};
}

}  // namespace kvpareto::tune
