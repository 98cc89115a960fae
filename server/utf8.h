// Well-formed UTF-8, which protobuf strings must be.
#pragma once

#include <string>
#include <string_view>

namespace kvpareto::server {

// Length of the longest well-formed prefix: text.size() if all is well.
size_t ValidUtf8Prefix(std::string_view text);

// `text` with every byte that is no part of a character replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);

// At most `max_bytes` of `text`, cut between characters.
std::string TruncateUtf8(std::string_view text, size_t max_bytes);

}  // namespace kvpareto::server
