// Python's string operations on UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvpareto::jinja {

// str.isspace() of one character.
bool IsSpace(char32_t code_point);

// str.lstrip / rstrip: removes characters of `chars` (nullopt: white space) from one end.
std::string_view StripLeft(std::string_view text, std::optional<std::string_view> chars = {});
std::string_view StripRight(std::string_view text, std::optional<std::string_view> chars = {});

// len(): in characters.
int64_t CharacterCount(std::string_view text);

// str.split(separator, max_splits); nullopt: at runs of white space; max_splits < 0: no limit. An
// empty separator is the caller's error.
std::vector<std::string> Split(std::string_view text, std::optional<std::string_view> separator,
                               int64_t max_splits);

// str.replace(old, new); count < 0: all.
std::string Replace(std::string_view text, std::string_view old, std::string_view with,
                    int64_t count);

bool IsAscii(std::string_view text);
std::string AsciiUpper(std::string_view text);
std::string AsciiLower(std::string_view text);
std::string AsciiCapitalize(std::string_view text);
std::string AsciiTitle(std::string_view text);

}  // namespace kvpareto::jinja
