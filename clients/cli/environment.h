// Environment variables; an empty one is as good as none.
#pragma once

#include <cstdlib>
#include <string>

namespace kvpareto::cli {

inline std::string Environment(const char* name, const std::string& absent = "") {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : absent;
}

}  // namespace kvpareto::cli
