// Scripts that complete commands and flags in a shell, made from the table of commands.
#pragma once

#include <span>
#include <string>

#include "clients/cli/commands.h"

namespace kvpareto::cli {

// For `source <(kvpareto completion bash)` or a file of /usr/share/bash-completion/completions.
std::string BashCompletion(std::span<const Command> commands);

// For a file `_kvpareto` in a folder of zsh's $fpath.
std::string ZshCompletion(std::span<const Command> commands);

}  // namespace kvpareto::cli
