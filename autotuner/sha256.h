// SHA-256 (FIPS 180-4), to name the text that a table was measured on.
#pragma once

#include <string>
#include <string_view>

namespace kvpareto::tune {

// 64 lower-case hex digits.
std::string Sha256Hex(std::string_view data);

}  // namespace kvpareto::tune
