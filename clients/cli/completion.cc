#include "clients/cli/completion.h"

#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "clients/cli/errors.h"

namespace kvpareto::cli {
namespace {

std::string Spelling(const Flag& flag) {
  return absl::StrCat(flag.name.size() == 1 ? "-" : "--", std::string(flag.name));
}

std::vector<Flag> AllFlags(const Command& command) {
  std::vector<Flag> flags = command.flags;
  flags.insert(flags.end(), kGlobalFlags.begin(), kGlobalFlags.end());
  return flags;
}

std::string Names(std::span<const Command> commands) {
  std::string names;
  for (const Command& command : commands) {
    absl::StrAppend(&names, names.empty() ? "" : " ", std::string(command.name));
  }
  return names;
}

bool TakesFile(const Flag& flag) { return flag.value == "FILE" || flag.value == "PATH"; }

std::string ZshQuoted(std::string_view text) {
  return absl::StrReplaceAll(std::string(text),
                             {{"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"'", "'\\''"}});
}

// `'--flag[help]:VALUE:action'`, a specification of zsh's _arguments.
std::string ZshFlag(const Flag& flag) {
  std::string spec = absl::StrCat("'*", Spelling(flag), "[", ZshQuoted(flag.help), "]");
  if (!flag.value.empty()) {
    absl::StrAppend(&spec, ":", ZshQuoted(flag.value), ":", TakesFile(flag) ? "_files" : "");
  }
  return spec + "'";
}

grpc::Status Run(const Args& args, Console& console) {
  const std::vector<Command> commands = AllCommands();
  const std::string shell = args.words().size() == 1 ? args.words()[0] : "";
  if (shell == "bash") {
    console.out << BashCompletion(commands);
  } else if (shell == "zsh") {
    console.out << ZshCompletion(commands);
  } else {
    return {grpc::StatusCode::INVALID_ARGUMENT, "which shell: bash or zsh?"};
  }
  return grpc::Status::OK;
}

}  // namespace

std::string BashCompletion(std::span<const Command> commands) {
  std::string cases, files;
  for (const Command& command : commands) {
    absl::StrAppendFormat(&cases, "    %s) flags=\"", std::string(command.name));
    for (const Flag& flag : AllFlags(command)) {
      absl::StrAppend(&cases, Spelling(flag), " ");
      if (TakesFile(flag)) absl::StrAppend(&files, files.empty() ? "" : "|", Spelling(flag));
    }
    cases += "\" ;;\n";
  }
  return absl::StrReplaceAll(
      R"(# bash completion of kvpareto
_kvpareto() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} flags=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "@NAMES@" -- "$word"))
    return
  fi
  case $previous in
    @FILES@) COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  case ${COMP_WORDS[1]} in
@CASES@  esac
  [[ $word != -* ]] || COMPREPLY=($(compgen -W "$flags" -- "$word"))
}
complete -o filenames -F _kvpareto kvpareto
)",
      {{"@NAMES@", Names(commands)}, {"@FILES@", files}, {"@CASES@", cases}});
}

std::string ZshCompletion(std::span<const Command> commands) {
  std::string names, cases;
  for (const Command& command : commands) {
    absl::StrAppendFormat(&names, "    '%s:%s'\n", std::string(command.name),
                          ZshQuoted(command.summary));
    absl::StrAppendFormat(&cases, "    %s) _arguments", std::string(command.name));
    for (const Flag& flag : AllFlags(command)) absl::StrAppend(&cases, " ", ZshFlag(flag));
    cases += " '*: :_files' ;;\n";
  }
  return absl::StrReplaceAll(R"(#compdef kvpareto
_kvpareto() {
  local state
  local -a commands=(
@NAMES@  )
  _arguments -C '1:command:->command' '*::words:->words'
  [[ $state != command ]] || _describe command commands
  [[ $state == words ]] || return 0
  case $words[1] in
@CASES@  esac
}
_kvpareto "$@"
)",
                             {{"@NAMES@", names}, {"@CASES@", cases}});
}

Command CompletionCommand() {
  return {.name = "completion",
          .summary = "print the script that completes commands and flags in a shell",
          .usage = "bash|zsh",
          .flags = {},
          .run = Run};
}

}  // namespace kvpareto::cli
