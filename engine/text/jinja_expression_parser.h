// Expressions of the template language, by precedence climbing.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/jinja_ast.h"
#include "engine/text/jinja_lexer.h"

namespace kvpareto::jinja {

// A position in a token list. `tokens` must outlive it and end with kEnd.
class TokenStream {
 public:
  explicit TokenStream(const std::vector<Token>& tokens) : tokens_(tokens) {}

  const Token& current() const { return tokens_[position_]; }
  const Token& next() const { return tokens_[std::min(position_ + 1, tokens_.size() - 1)]; }
  void Skip() { position_ += position_ + 1 < tokens_.size(); }
  bool Is(Token::Kind kind) const { return current().kind == kind; }
  bool IsOperator(std::string_view op) const {
    return Is(Token::Kind::kOperator) && current().text == op;
  }
  bool IsName(std::string_view name) const {
    return Is(Token::Kind::kName) && current().text == name;
  }
  bool SkipOperator(std::string_view op);
  bool SkipName(std::string_view name);
  // Errors: UNIMPLEMENTED (CHAT_TEMPLATE_UNSUPPORTED).
  absl::Status ExpectOperator(std::string_view op);
  absl::Status ExpectName(std::string_view name);
  absl::Status ExpectKind(Token::Kind kind, std::string_view description);
  absl::StatusOr<std::string> TakeName();
  // Unsupported(construct) with the current line.
  absl::Status Error(const std::string& construct) const;
  // "expected X, found Y".
  absl::Status Unexpected(std::string_view expected) const;

 private:
  const std::vector<Token>& tokens_;
  size_t position_ = 0;
};

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  // `then if condition else otherwise`, or just Or().
  absl::StatusOr<ExprPtr> Parse();
  // What a for loop visits: everything but the conditional, whose `if` is the loop's filter.
  absl::StatusOr<ExprPtr> ParseIterable();

 private:
  absl::StatusOr<ExprPtr> Or();
  absl::StatusOr<ExprPtr> And();
  absl::StatusOr<ExprPtr> NotOperator();
  absl::StatusOr<ExprPtr> Comparison();
  absl::StatusOr<ExprPtr> Sum();
  absl::StatusOr<ExprPtr> Concatenation();
  absl::StatusOr<ExprPtr> Product();
  absl::StatusOr<ExprPtr> Unary();
  absl::StatusOr<ExprPtr> Primary();
  absl::StatusOr<ExprPtr> Postfix(ExprPtr expr);
  absl::StatusOr<ExprPtr> FiltersAndTests(ExprPtr expr);

  absl::StatusOr<ExprPtr> Parenthesized();
  absl::StatusOr<ExprPtr> ListOf(std::string_view end, std::vector<ExprPtr> items);
  absl::StatusOr<ExprPtr> DictOf();
  absl::StatusOr<ExprPtr> SubscriptOf(ExprPtr object);
  absl::StatusOr<ExprPtr> CallOf(ExprPtr callee);
  absl::StatusOr<ExprPtr> FilterOf(ExprPtr self);
  absl::StatusOr<ExprPtr> TestOf(ExprPtr self);
  absl::StatusOr<Arguments> ParseArguments();  // after "("

  // Bounds how deep the tree gets, for those who recurse over it: by nesting, and by chains such as
  // a + b + c, which nest to the left.
  absl::Status Enter();
  void Leave() { --depth_; }
  absl::Status CountLink();

  TokenStream& tokens_;
  int depth_ = 0;
  int links_ = 0;
};

}  // namespace kvpareto::jinja
