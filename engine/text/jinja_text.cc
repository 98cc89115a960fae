#include "engine/text/jinja_text.h"

#include <algorithm>

#include "engine/text/utf8.h"

namespace kvpareto::jinja {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Whether `character` (one character) is to be stripped.
bool Matches(std::string_view character, std::optional<std::string_view> chars) {
  if (chars) return chars->find(character) != chars->npos;
  return IsSpace(NextUtf8(character).code_point);
}

std::vector<std::string> SplitAtSpace(std::string_view text, int64_t max_splits) {
  std::vector<std::string> out;
  text = StripLeft(text);
  while (!text.empty()) {
    if (max_splits >= 0 && static_cast<int64_t>(out.size()) == max_splits) {
      out.emplace_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size() && !IsSpace(NextUtf8(text.substr(end)).code_point)) {
      end += Utf8LengthOfLead(text[end]);
    }
    out.emplace_back(text.substr(0, end));
    text = StripLeft(text.substr(end));
  }
  return out;
}

char Upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool IsLetter(char c) { return Lower(c) >= 'a' && Lower(c) <= 'z'; }

}  // namespace

bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

std::string_view StripLeft(std::string_view text, std::optional<std::string_view> chars) {
  while (!text.empty()) {
    const size_t bytes = Utf8LengthOfLead(text[0]);
    if (!Matches(text.substr(0, bytes), chars)) break;
    text.remove_prefix(bytes);
  }
  return text;
}

std::string_view StripRight(std::string_view text, std::optional<std::string_view> chars) {
  while (!text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && IsContinuation(text[begin])) --begin;
    if (!Matches(text.substr(begin), chars)) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

int64_t CharacterCount(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return !IsContinuation(c); });
}

std::vector<std::string> Split(std::string_view text, std::optional<std::string_view> separator,
                               int64_t max_splits) {
  if (!separator) return SplitAtSpace(text, max_splits);
  std::vector<std::string> out;
  while (max_splits < 0 || static_cast<int64_t>(out.size()) < max_splits) {
    const size_t at = text.find(*separator);
    if (at == text.npos) break;
    out.emplace_back(text.substr(0, at));
    text.remove_prefix(at + separator->size());
  }
  out.emplace_back(text);
  return out;
}

std::string Replace(std::string_view text, std::string_view old, std::string_view with,
                    int64_t count) {
  std::string out;
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    const size_t at = text.find(old);
    if (at == text.npos) break;
    out += text.substr(0, at);
    out += with;
    text.remove_prefix(at + old.size());
  }
  return out += text;
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
}

std::string AsciiUpper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), Upper);
  return out;
}

std::string AsciiLower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), Lower);
  return out;
}

std::string AsciiCapitalize(std::string_view text) {
  std::string out = AsciiLower(text);
  if (!out.empty()) out[0] = Upper(out[0]);
  return out;
}

std::string AsciiTitle(std::string_view text) {
  std::string out = AsciiLower(text);
  for (size_t i = 0; i < out.size(); ++i) {
    if (i == 0 || !IsLetter(out[i - 1])) out[i] = Upper(out[i]);
  }
  return out;
}

}  // namespace kvpareto::jinja
