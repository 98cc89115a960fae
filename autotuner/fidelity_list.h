// The list of caches that a fidelity run measures.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "autotuner/config_list.h"

namespace kvpareto::tune {

struct MeasuredConfig {
  std::string name;
  KvConfig config;
  bool encode_on_write = false;        // ScoreOptions
  bool needle = false;                 // ask the needle questions of this one too
  std::vector<std::string> baselines;  // names of others in the list

  // All that decides what is measured: the config's text, and how it is run.
  std::string Identity() const;
};

// One cache a line, "NAME [WORD...] CONFIG":
//
//   A  encode_on_write k=int4-token-g64-smooth v=int4-token-g64 sink=0 recent=0 chunk=256
//   best needle baseline=A,B k=int4-channel v=int4-token sink=16 recent=0
//
// Words before and between those of the config: encode_on_write, needle, baseline=NAME[,NAME...].
// Empty lines and lines that begin with '#' are skipped. Errors: INVALID_ARGUMENT
// (KV_CONFIG_INVALID, CONFIG_LIST_INVALID) with the line's number.
absl::StatusOr<std::vector<MeasuredConfig>> ParseFidelityList(std::string_view text);

// Stored bits per element at `tokens` tokens (EffectiveBits, EffectiveBitsOnWrite).
absl::StatusOr<double> BitsOf(const MeasuredConfig& measured, const ModelConfig& model,
                              int64_t tokens);

}  // namespace kvpareto::tune
