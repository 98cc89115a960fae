#include "engine/text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "engine/text/jinja_text.h"
#include "engine/text/jinja_value.h"
#include "engine/text/utf8.h"

namespace kvpareto::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }

// Line ends as "\n", and none at the very end.
std::string NormalizeLines(const std::string& source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : rest_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (!rest_.empty()) {
      if (rest_.starts_with("{{") || rest_.starts_with("{%")) {
        KVP_RETURN_IF_ERROR(ReadTag());
      } else if (rest_.starts_with("{#")) {
        KVP_RETURN_IF_ERROR(SkipComment());
      } else {
        ReadText();
      }
    }
    Emit(Token::Kind::kEnd);
    return std::move(tokens_);
  }

 private:
  absl::Status Error(const std::string& what) const {
    return Unsupported(what + " (line " + std::to_string(line_) + ")");
  }

  void Emit(Token::Kind kind, std::string text = {}, int64_t integer = 0) {
    tokens_.push_back({kind, std::move(text), integer, line_});
  }

  void Advance(size_t bytes) {
    line_ += static_cast<int>(std::count(rest_.begin(), rest_.begin() + bytes, '\n'));
    line_starting_ = bytes > 0 ? rest_[bytes - 1] == '\n' : line_starting_;
    rest_.remove_prefix(bytes);
  }

  bool Consume(std::string_view expected) {
    if (!rest_.starts_with(expected)) return false;
    Advance(expected.size());
    return true;
  }

  void SkipSpace() { Advance(rest_.size() - StripLeft(rest_).size()); }

  void ReadText() {
    size_t end = 0;
    while (end < rest_.size() && !StartsTag(rest_.substr(end))) ++end;
    std::string_view text = rest_.substr(0, end);
    const std::string_view tag = rest_.substr(end);
    const char sign = tag.size() > 2 ? tag[2] : '\0';
    if (sign == '-') {
      text = StripRight(text);
    } else if (!tag.empty() && sign != '+' && !tag.starts_with("{{")) {
      // lstrip_blocks: the white space between the beginning of the line and a block tag.
      const size_t newline = text.rfind('\n');
      const size_t line_begin = newline == text.npos ? 0 : newline + 1;
      const bool whole_line = line_begin > 0 || line_starting_;
      if (whole_line && StripLeft(text.substr(line_begin)).empty()) {
        text = text.substr(0, line_begin);
      }
    }
    if (!text.empty()) Emit(Token::Kind::kText, std::string(text));
    Advance(end);
  }

  static bool StartsTag(std::string_view text) {
    return text.starts_with("{{") || text.starts_with("{%") || text.starts_with("{#");
  }

  // After the closing marker of a block or a comment: trim_blocks drops one newline.
  void TrimNewline() { Consume("\n"); }

  absl::Status SkipComment() {
    const size_t end = rest_.find("#}", 2);
    if (end == rest_.npos) return Error("comment without end");
    const char sign = end > 2 ? rest_[end - 1] : '\0';
    Advance(end + 2);
    if (sign == '-') {
      SkipSpace();
    } else if (sign != '+') {
      TrimNewline();
    }
    return absl::OkStatus();
  }

  absl::Status ReadTag() {
    const bool block = rest_[1] == '%';
    Emit(block ? Token::Kind::kBlockBegin : Token::Kind::kVariableBegin);
    Advance(2);
    if (rest_.starts_with('-') || (block && rest_.starts_with('+'))) Advance(1);
    int depth = 0;  // of open brackets: "}}" may close two dicts
    while (true) {
      SkipSpace();
      if (rest_.empty()) return Error("tag without end");
      if (depth == 0 && ReadTagEnd(block)) return absl::OkStatus();
      KVP_RETURN_IF_ERROR(ReadExpressionToken());
      const Token& token = tokens_.back();
      if (token.kind != Token::Kind::kOperator) continue;
      const char c = token.text[0];
      if (c == '(' || c == '[' || c == '{') ++depth;
      if (c == ')' || c == ']' || c == '}') --depth;
      if (depth < 0) return Error("unbalanced '" + token.text + "'");
    }
  }

  bool ReadTagEnd(bool block) {
    const std::string_view end = block ? "%}" : "}}";
    const bool strips = rest_.starts_with('-');
    const bool keeps = block && rest_.starts_with('+');
    if (rest_.substr(strips || keeps ? 1 : 0, 2) != end) return false;
    Emit(block ? Token::Kind::kBlockEnd : Token::Kind::kVariableEnd);
    Advance(strips || keeps ? 3 : 2);
    if (strips) {
      SkipSpace();
    } else if (block && !keeps) {
      TrimNewline();
    }
    return true;
  }

  absl::Status ReadExpressionToken() {
    const char c = rest_[0];
    if (IsNameStart(c)) {
      const auto end = std::find_if_not(rest_.begin(), rest_.end(), IsNamePart);
      const size_t bytes = end - rest_.begin();
      Emit(Token::Kind::kName, std::string(rest_.substr(0, bytes)));
      Advance(bytes);
      return absl::OkStatus();
    }
    if (IsDigit(c)) return ReadNumber();
    if (c == '\'' || c == '"') return ReadString(c);
    return ReadOperator();
  }

  absl::Status ReadNumber() {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    const size_t bytes = end - rest_.data();
    const char next = bytes < rest_.size() ? rest_[bytes] : ' ';
    const bool fraction = next == '.' && bytes + 1 < rest_.size() && IsDigit(rest_[bytes + 1]);
    if (error != std::errc() || fraction || IsNamePart(next)) {
      return Error("number that is not a plain integer");
    }
    Emit(Token::Kind::kInteger, std::string(rest_.substr(0, bytes)), value);
    Advance(bytes);
    return absl::OkStatus();
  }

  absl::Status ReadString(char quote) {
    std::string text;
    size_t i = 1;
    for (; i < rest_.size() && rest_[i] != quote; ++i) {
      if (rest_[i] != '\\') {
        text += rest_[i];
        continue;
      }
      if (++i == rest_.size()) break;
      KVP_RETURN_IF_ERROR(AppendEscape(i, text));
    }
    if (i >= rest_.size()) return Error("string without end");
    Emit(Token::Kind::kString, std::move(text));
    Advance(i + 1);
    return absl::OkStatus();
  }

  // rest_[i] follows a backslash; leaves i at the escape's last byte.
  absl::Status AppendEscape(size_t& i, std::string& text) const {
    constexpr std::string_view kFrom = "\\'\"abfnrtv\n";
    constexpr std::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    const char c = rest_[i];
    const size_t index = kFrom.find(c);
    if (index < kTo.size()) {
      text += kTo[index];
      return absl::OkStatus();
    }
    if (index != kFrom.npos) return absl::OkStatus();  // a continued line
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) return AppendHexEscape(i, digits, text);
    if (IsDigit(c) || c == 'N') return Error(std::string("string escape \\") + c);
    text += '\\';  // Python keeps unknown escapes
    text += c;
    return absl::OkStatus();
  }

  absl::Status AppendHexEscape(size_t& i, size_t digits, std::string& text) const {
    const std::string_view hex = rest_.substr(i + 1, digits);
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), value, 16);
    const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
    if (error != std::errc() || end != hex.data() + digits || surrogate || value > 0x10FFFF) {
      return Error(std::string("string escape \\") + rest_[i] + std::string(hex));
    }
    AppendUtf8(value, text);
    i += digits;
    return absl::OkStatus();
  }

  absl::Status ReadOperator() {
    constexpr std::array<std::string_view, 26> kOperators = {
        "==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<",
        ">",  "=",  "|",  ".",  ",",  ":",  "(", ")", "[", "]", "{", "}", ";"};
    for (const std::string_view op : kOperators) {
      if (!rest_.starts_with(op)) continue;
      Emit(Token::Kind::kOperator, std::string(op));
      Advance(op.size());
      return absl::OkStatus();
    }
    return Error("character '" + std::string(rest_.substr(0, Utf8LengthOfLead(rest_[0]))) + "'");
  }

  std::string_view rest_;
  std::vector<Token> tokens_;
  int line_ = 1;
  bool line_starting_ = true;  // what was read last ended a line
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(const std::string& source) {
  return Lexer(NormalizeLines(source)).Run();
}

}  // namespace kvpareto::jinja
