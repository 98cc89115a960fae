// kvpareto-tune: measures Pareto tables.
#include <algorithm>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "autotuner/commands.h"

namespace {

constexpr char kUsage[] =
    "kvpareto-tune measure --model MODEL --text FILE --out TABLE.yaml [flags]\n\n"
    "Measures KV configs on a model and a text (bytes, accuracy against the bf16 cache by context\n"
    "length, speed) and writes the ones that no other dominates as a Pareto table.\n\n"
    "kvpareto-tune calibrate --model MODEL --text FILE[,FILE...] --out CALIBRATION.safetensors\n\n"
    "Measures what transforms, clips and codecs with static ranges need (docs/calibration.md).\n\n"
    "kvpareto-tune fidelity --model MODEL --text FILE,FILE --configs LIST --out REPORT.json\n\n"
    "Compares caches with a reference cache token by token and prints a table (docs/fidelity.md).\n"
    "Goes on where an earlier run with the same --out stopped.\n\n"
    "kvpareto-tune layers --model MODEL --text FILE,FILE --base CONFIG --targets BITS,BITS\n"
    "    --out LIST [flags]\n\n"
    "Measures what each layer's keys and values lose in each codec, alone (OUT.json), and writes\n"
    "configs with codecs per layer. What these lose together is estimated as the sum; `fidelity`\n"
    "measures it (docs/fidelity.md). Goes on where an earlier run with the same --out stopped.\n\n"
    "kvpareto-tune --help=autotuner/ lists the flags of all, --help=layers: those of one.";

// The words that make the same table again.
std::string CommandLine(int argc, char** argv) {
  std::string line = "kvpareto-tune";
  for (int i = 1; i < argc; ++i) line += std::string(" ") + argv[i];
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = CommandLine(argc, argv);
  absl::SetProgramUsageMessage(kUsage);
  const std::vector<char*> words = absl::ParseCommandLine(argc, argv);
  const std::map<std::string, absl::Status (*)(const std::string&)> subcommands = {
      {"measure", kvpareto::tune::RunMeasure},
      {"calibrate", kvpareto::tune::RunCalibrate},
      {"fidelity", kvpareto::tune::RunFidelity},
      {"layers", kvpareto::tune::RunLayers}};
  const auto subcommand = words.size() == 2 ? subcommands.find(words[1]) : subcommands.end();
  if (subcommand == subcommands.end()) {
    std::cerr << "usage: " << kUsage << "\n";
    return 2;
  }
  const absl::Status status = subcommand->second(command);
  if (!status.ok()) std::cerr << "kvpareto-tune: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
