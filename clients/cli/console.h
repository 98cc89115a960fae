// Where a command reads and writes: standard streams in the program, strings in tests.
#pragma once

#include <iosfwd>

namespace kvpareto::cli {

struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool input_is_terminal = false;
  bool output_is_terminal = false;
  bool unicode = false;  // the terminal knows block characters
};

// Standard input, output and error, and what the environment says about them.
Console StandardConsole();

}  // namespace kvpareto::cli
