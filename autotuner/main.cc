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
    "kvpareto-tune run FILE.yaml [--dry_run] [--out FOLDER]\n\n"
    "Searches KV configs, prefill chunks and weights as the file says, to Pareto tables and\n"
    "results.json (docs/tuning.md). Goes on where it was stopped.\n\n"
    "kvpareto-tune check TABLE.yaml --spec FILE.yaml\n"
    "kvpareto-tune diff OLD.yaml NEW.yaml\n\n"
    "Measures rows of a table again on this machine; says what changed between two tables.\n\n"
    "kvpareto-tune memory --model MODEL --config CONFIG --context TOKENS\n\n"
    "Says what one request takes, predicted and measured.\n\n"
    "kvpareto-tune measure --model MODEL --text FILE --out TABLE.yaml [flags]\n\n"
    "Measures KV configs on a model and a text (bytes, accuracy against the bf16 cache by context\n"
    "length, speed) and writes the ones that no other dominates as a Pareto table.\n\n"
    "kvpareto-tune calibrate --model MODEL --text FILE[,FILE...] --out CALIBRATION.safetensors\n\n"
    "Measures what transforms, clips and codecs with static ranges need (docs/calibration.md).\n\n"
    "kvpareto-tune awq --model MODEL --text FILE[,FILE...] --out DIRECTORY [flags]\n\n"
    "Quantizes the weights of linear layers to 4 bits and writes an AutoAWQ checkpoint\n"
    "(docs/awq.md).\n\n"
    "kvpareto-tune perplexity --model MODEL --text FILE[,FILE...] [flags]\n\n"
    "Prints the perplexity of a model with a bf16 cache; --against MODEL: and of another, and\n"
    "the difference with its confidence interval over windows.\n\n"
    "kvpareto-tune fidelity --model MODEL --text FILE,FILE --configs LIST --out REPORT.json\n\n"
    "Compares caches with a reference cache token by token and prints a table (docs/fidelity.md).\n"
    "Goes on where an earlier run with the same --out stopped.\n\n"
    "kvpareto-tune layers --model MODEL --text FILE,FILE --base CONFIG --targets BITS,BITS\n"
    "    --out LIST [flags]\n\n"
    "Measures what each layer's keys and values lose in each codec, alone (OUT.json), and writes\n"
    "configs with codecs per layer. What these lose together is estimated as the sum; `fidelity`\n"
    "measures it (docs/fidelity.md). Goes on where an earlier run with the same --out stopped.\n\n"
    "kvpareto-tune tasks --model MODEL --tasks TASKS.yaml --configs LIST --out RESULTS.json\n\n"
    "Evaluates configs on tasks and prints what they lose against bf16 (docs/tasks.md). Goes on\n"
    "where an earlier run with the same --out stopped.\n\n"
    "kvpareto-tune report RESULTS.json --out REPORT.html\n\n"
    "Shows what a search found, as one HTML page that needs nothing else (docs/report.md).\n\n"
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
      {"measure", kvpareto::tune::RunMeasure},   {"calibrate", kvpareto::tune::RunCalibrate},
      {"awq", kvpareto::tune::RunAwq},           {"perplexity", kvpareto::tune::RunPerplexity},
      {"fidelity", kvpareto::tune::RunFidelity}, {"layers", kvpareto::tune::RunLayers},
      {"tasks", kvpareto::tune::RunTasks},       {"memory", kvpareto::tune::RunMemory}};
  const std::map<std::string, absl::Status (*)(const std::string&, const std::vector<std::string>&)>
      with_files = {{"run", kvpareto::tune::RunRun},
                    {"report", kvpareto::tune::RunReport},
                    {"check", kvpareto::tune::RunCheck},
                    {"diff", kvpareto::tune::RunDiff}};
  absl::Status status;
  if (words.size() > 1 && with_files.contains(words[1])) {
    status = with_files.at(words[1])(command, {words.begin() + 2, words.end()});
  } else if (words.size() == 2 && subcommands.contains(words[1])) {
    status = subcommands.at(words[1])(command);
  } else {
    std::cerr << "usage: " << kUsage << "\n";
    return 2;
  }
  if (!status.ok()) std::cerr << "kvpareto-tune: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
