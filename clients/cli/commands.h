// The commands of `kvpareto`, one file each.
#pragma once

#include <grpcpp/support/status.h>

#include <span>
#include <string_view>
#include <vector>

#include "clients/cli/args.h"
#include "clients/cli/console.h"

namespace kvpareto::cli {

struct Command {
  std::string_view name;
  std::string_view summary;  // one line
  std::string_view usage;    // what stands after the name
  std::vector<Flag> flags;
  // Writes its result to console.out; an error is returned, not printed.
  grpc::Status (*run)(const Args& args, Console& console);
};

Command GenerateCommand();
Command ChatCommand();
Command PlanCommand();
Command TokensCommand();
Command ModelsCommand();
Command TableCommand();
Command MemoryCommand();
Command DrainCommand();
Command SloCommand();
Command HealthCommand();
Command CompletionCommand();

// In the order of the help.
std::vector<Command> AllCommands();

// Runs the program on the words after its name; returns the exit status: 0, 1 (the command failed),
// 2 (wrong usage) or 130 (interrupted).
int RunProgram(std::span<const std::string> words, Console& console);

}  // namespace kvpareto::cli
