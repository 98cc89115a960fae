#include "clients/cli/commands.h"

#include <ostream>

#include "absl/strings/str_format.h"
#include "clients/cli/credentials.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"

namespace kvpareto::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;
constexpr int kInterrupted = 130;

std::string ProgramHelp(const std::vector<Command>& commands) {
  std::string help =
      "kvpareto: ask a KV Pareto server\n\nusage: kvpareto COMMAND [FLAGS] [WORDS]\n\n";
  for (const Command& command : commands) {
    absl::StrAppendFormat(&help, "  %-10s %s\n", std::string(command.name),
                          std::string(command.summary));
  }
  help += "\nflags of every command:\n" + FlagHelp(kGlobalFlags);
  help += "\nenvironment:\n  KVPARETO_SERVER       as --server\n";
  help += kCredentialsHelp;
  help += "\nkvpareto COMMAND --help tells the rest.\n";
  return help;
}

std::string CommandHelp(const Command& command) {
  std::string help =
      absl::StrFormat("%s\n\nusage: kvpareto %s %s\n\n", std::string(command.summary),
                      std::string(command.name), std::string(command.usage));
  return help + FlagHelp(command.flags) + FlagHelp(kGlobalFlags);
}

// Splits the words into global flags before the command, the command, and the rest: the flags then
// stand in front of the rest.
std::vector<std::string> MoveCommandToFront(std::span<const std::string> words) {
  std::vector<std::string> moved(words.begin(), words.end());
  for (size_t i = 0; i < moved.size(); ++i) {
    if (moved[i].size() > 1 && moved[i][0] == '-') {
      const bool takes_next =
          moved[i].find('=') == std::string::npos && moved[i] != "--help" && moved[i] != "-h";
      if (takes_next) ++i;
      continue;
    }
    std::string command = moved[i];
    moved.erase(moved.begin() + i);
    moved.insert(moved.begin(), std::move(command));
    break;
  }
  return moved;
}

int RunCommand(const Command& command, std::span<const std::string> words, Console& console) {
  const absl::StatusOr<Args> args = Args::Parse(command.flags, words);
  if (!args.ok()) {
    console.err << "error: " << args.status().message() << "\n";
    return kWrongUsage;
  }
  if (args->Has("help")) {
    console.out << CommandHelp(command);
    return 0;
  }
  const grpc::Status status = command.run(*args, console);
  console.out.flush();
  if (status.ok()) return 0;
  if (Interrupted() && status.error_code() == grpc::StatusCode::CANCELLED) {
    console.err << "interrupted\n";
    return kInterrupted;
  }
  console.err << "error: " << DescribeError(status);
  return kFailed;
}

}  // namespace

std::vector<Command> AllCommands() {
  return {GenerateCommand(), ChatCommand(),   PlanCommand(),      TokensCommand(),
          ModelsCommand(),   TableCommand(),  MemoryCommand(),    DrainCommand(),
          SloCommand(),      HealthCommand(), CompletionCommand()};
}

int RunProgram(std::span<const std::string> words, Console& console) {
  const std::vector<Command> commands = AllCommands();
  const std::vector<std::string> moved = MoveCommandToFront(words);
  if (moved.empty() || moved[0] == "--help" || moved[0] == "-h" || moved[0] == "help") {
    (moved.empty() ? console.err : console.out) << ProgramHelp(commands);
    return moved.empty() ? kWrongUsage : 0;
  }
  for (const Command& command : commands) {
    if (command.name == moved[0]) {
      return RunCommand(command, std::span(moved).subspan(1), console);
    }
  }
  console.err << "error: no command '" << moved[0] << "'; see kvpareto --help\n";
  return kWrongUsage;
}

}  // namespace kvpareto::cli
