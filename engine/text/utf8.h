// UTF-8, strictly: no surrogates, no overlong forms, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvpareto {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// What stands at the beginning of a byte string.
struct Utf8Step {
  enum class Kind : uint8_t {
    kCharacter,   // a whole character of `bytes` bytes
    kInvalid,     // `bytes` bytes that no continuation can make valid (a "maximal subpart")
    kIncomplete,  // all that is left, `bytes` bytes, is a proper prefix of a character
  };
  Kind kind = Kind::kInvalid;
  size_t bytes = 0;
  char32_t code_point = 0;  // of kCharacter
};

// `text` must not be empty.
Utf8Step NextUtf8(std::string_view text);

// Bytes of the character that starts with `lead` in text known to be valid.
constexpr size_t Utf8LengthOfLead(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

void AppendUtf8(char32_t code_point, std::string& out);

// `text` with U+FFFD for every maximal subpart that is not UTF-8 (Unicode 15, section 3.9).
std::string MakeValidUtf8(std::string_view text);

}  // namespace kvpareto
