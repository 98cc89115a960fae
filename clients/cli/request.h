// Requests from the command line: what generate, chat and plan have in common.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "clients/cli/args.h"
#include "clients/cli/console.h"
#include "kvpareto/v1/inference.pb.h"

namespace kvpareto::cli {

// Flags of KV cache, sampling and stopping.
std::vector<Flag> RequestFlags();
// Flags that say where the prompt is.
std::vector<Flag> PromptFlags();
std::vector<Flag> Join(std::vector<Flag> a, const std::vector<Flag>& b);

// The request without its prompt. Errors: INVALID_ARGUMENT naming the flag.
absl::StatusOr<v1::GenerateRequest> BuildRequest(const Args& args, const std::string& model);

// The prompt: the words, or --file, or standard input; with --chat as a message of the user after
// the one of --system. Errors: INVALID_ARGUMENT, NOT_FOUND.
absl::StatusOr<v1::Prompt> ReadPrompt(const Args& args, Console& console);

}  // namespace kvpareto::cli
