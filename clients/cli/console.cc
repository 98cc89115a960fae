#include "clients/cli/console.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string_view>

namespace kvpareto::cli {
namespace {

// The first of these that is set decides, as in setlocale(3).
bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    const std::string_view locale(value);
    return locale.find("UTF-8") != locale.npos || locale.find("utf8") != locale.npos;
  }
  return false;
}

}  // namespace

Console StandardConsole() {
  return Console{.in = std::cin,
                 .out = std::cout,
                 .err = std::cerr,
                 .input_is_terminal = isatty(STDIN_FILENO) != 0,
                 .output_is_terminal = isatty(STDOUT_FILENO) != 0,
                 .unicode = LocaleIsUtf8()};
}

}  // namespace kvpareto::cli
