#include "engine/text/jinja_expression_parser.h"

namespace kvpareto::jinja {

bool TokenStream::SkipOperator(std::string_view op) {
  if (!IsOperator(op)) return false;
  Skip();
  return true;
}

bool TokenStream::SkipName(std::string_view name) {
  if (!IsName(name)) return false;
  Skip();
  return true;
}

absl::Status TokenStream::ExpectOperator(std::string_view op) {
  return SkipOperator(op) ? absl::OkStatus() : Unexpected(op);
}

absl::Status TokenStream::ExpectName(std::string_view name) {
  return SkipName(name) ? absl::OkStatus() : Unexpected(name);
}

absl::Status TokenStream::ExpectKind(Token::Kind kind, std::string_view description) {
  if (!Is(kind)) return Unexpected(description);
  Skip();
  return absl::OkStatus();
}

absl::StatusOr<std::string> TokenStream::TakeName() {
  if (!Is(Token::Kind::kName)) return Unexpected("a name");
  std::string name = current().text;
  Skip();
  return name;
}

absl::Status TokenStream::Error(const std::string& construct) const {
  return Unsupported(construct + " (line " + std::to_string(current().line) + ")");
}

absl::Status TokenStream::Unexpected(std::string_view expected) const {
  const Token& token = current();
  std::string found = token.kind == Token::Kind::kEnd           ? "the end of the template"
                      : token.kind == Token::Kind::kBlockEnd    ? "the end of the tag"
                      : token.kind == Token::Kind::kVariableEnd ? "the end of the tag"
                                                                : "'" + token.text + "'";
  return Error("syntax: expected " + std::string(expected) + ", found " + found);
}

}  // namespace kvpareto::jinja
