// Greedy answers to many prompts under one pinned KV config, many at once.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace kvpareto::tune {

struct GenerationJob {
  const std::vector<int32_t>* prompt = nullptr;
  int max_new_tokens = 0;
  std::vector<std::string> stop_strings;
};

struct GeneratedText {
  std::string text;
  int64_t tokens = 0;
};

struct GenerationOptions {
  int max_in_flight = 16;
  std::function<bool()> stop;  // asked before each start
};

// Calls done(index, text) on this thread as jobs finish, in any order. Once `stop` says so no more
// jobs are started; those that run are finished. An error, of Engine::Prepare and Submit, of a
// request or of `done`, cancels what runs and ends it.
absl::Status GenerateTexts(Engine& engine, std::span<const GenerationJob> jobs,
                           const KvConfig& config, const GenerationOptions& options,
                           const std::function<absl::Status(size_t, GeneratedText)>& done);

}  // namespace kvpareto::tune
