#include <cstdio>
#include <filesystem>
#include <vector>

#include "absl/flags/flag.h"
#include "autotuner/awq.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"

ABSL_FLAG(int, group, 128, "awq: input features that share a scale and a zero: 32, 64 or 128");
ABSL_FLAG(int, samples, 64, "awq: samples of calibration text");
ABSL_FLAG(int, sample_tokens, 512, "awq: tokens of a sample");
ABSL_FLAG(int, search_samples, 4, "awq: samples that outputs of layers are compared on");
ABSL_FLAG(uint64_t, seed, 42, "awq: chooses the samples");
ABSL_FLAG(int, grid, 20, "awq: scales tried for each set of layers; 0: none");
ABSL_FLAG(bool, clip, true, "awq: search how far weights of values are clipped");
ABSL_FLAG(
    std::string, rounding, "gptq",
    "awq: gptq, where the error of a weight is made good by those rounded after it, or nearest");

namespace kvpareto::tune {
namespace {

absl::StatusOr<Rounding> ParseRounding(const std::string& name) {
  if (name == "gptq") return Rounding::kGptq;
  if (name == "nearest") return Rounding::kNearest;
  return absl::InvalidArgumentError("--rounding is gptq or nearest, not " + name);
}

// One line per set of layers: what its scales are worth.
void Print(const AwqResult& result) {
  if (!result.searched.empty()) {
    std::fprintf(stderr, "layer  input             ratio  error / that of rounding\n");
  }
  for (const AwqSearched& set : result.searched) {
    std::fprintf(stderr, "%5d  %-16s  %.2f   %.3f\n", set.layer, set.input.c_str(), set.ratio,
                 set.rounding_error > 0.0 ? set.error / set.rounding_error : 1.0);
  }
}

}  // namespace

absl::Status RunAwq(const std::string& /*command*/) {
  AwqOptions options;
  options.model_path = absl::GetFlag(FLAGS_model);
  options.output_path = absl::GetFlag(FLAGS_out);
  if (options.output_path.empty()) return absl::InvalidArgumentError("--out is missing");
  options.group_size = absl::GetFlag(FLAGS_group);
  options.samples = absl::GetFlag(FLAGS_samples);
  options.sample_tokens = absl::GetFlag(FLAGS_sample_tokens);
  options.search_samples = absl::GetFlag(FLAGS_search_samples);
  options.seed = absl::GetFlag(FLAGS_seed);
  options.grid = absl::GetFlag(FLAGS_grid);
  options.clip = absl::GetFlag(FLAGS_clip);
  options.threads = absl::GetFlag(FLAGS_threads);
  KVP_ASSIGN_OR_RETURN(options.rounding, ParseRounding(absl::GetFlag(FLAGS_rounding)));
  KVP_RETURN_IF_ERROR(options.Validate());
  std::vector<NamedText> texts;
  if (options.NeedsText()) {
    KVP_ASSIGN_OR_RETURN(texts, TextsFlag());
  }
  KVP_ASSIGN_OR_RETURN(const AwqResult result, QuantizeAwq(options, texts));
  Print(result);
  std::fprintf(stderr, "%s: %.1f MiB of weights, fingerprint %s, in %.0f s\n",
               options.output_path.c_str(), result.weights_bytes / 1048576.0,
               result.fingerprint.c_str(), result.seconds);
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
