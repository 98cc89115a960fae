#include <string>
#include <vector>

#include "clients/cli/commands.h"
#include "clients/cli/interrupt.h"

int main(int argc, char** argv) {
  kvpareto::cli::HandleInterrupts();
  kvpareto::cli::Console console = kvpareto::cli::StandardConsole();
  const std::vector<std::string> words(argv + 1, argv + argc);
  return kvpareto::cli::RunProgram(words, console);
}
