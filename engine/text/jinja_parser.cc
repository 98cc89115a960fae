#include "engine/text/jinja_parser.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>
#include <utility>

#include "engine/text/jinja_expression_parser.h"
#include "engine/text/jinja_lexer.h"

namespace kvpareto::jinja {
namespace {

constexpr int kMaxDepth = 100;

class Parser {
 public:
  explicit Parser(const std::vector<Token>& tokens) : tokens_(tokens), expressions_(tokens_) {}

  absl::StatusOr<Body> Run() { return ParseBody({}); }

 private:
  // Statements up to a block tag whose name is in `ends` (consumed up to after the name, which
  // goes to end_), or up to the end of the template when `ends` is empty.
  absl::StatusOr<Body> ParseBody(std::initializer_list<std::string_view> ends) {
    if (++depth_ > kMaxDepth) return tokens_.Error("blocks nested more than 100 deep");
    Body body;
    while (true) {
      if (tokens_.Is(Token::Kind::kEnd)) {
        if (ends.size() > 0) return tokens_.Unexpected(*ends.begin());
        break;
      }
      if (tokens_.Is(Token::Kind::kText)) {
        body.push_back({Text{tokens_.current().text}});
        tokens_.Skip();
      } else if (tokens_.Is(Token::Kind::kVariableBegin)) {
        tokens_.Skip();
        KVP_ASSIGN_OR_RETURN(ExprPtr value, expressions_.Parse());
        KVP_RETURN_IF_ERROR(tokens_.ExpectKind(Token::Kind::kVariableEnd, "}}"));
        body.push_back({Print{std::move(value)}});
      } else {
        KVP_RETURN_IF_ERROR(tokens_.ExpectKind(Token::Kind::kBlockBegin, "a tag"));
        KVP_ASSIGN_OR_RETURN(std::string tag, tokens_.TakeName());
        if (std::find(ends.begin(), ends.end(), tag) != ends.end()) {
          end_ = std::move(tag);
          break;
        }
        KVP_ASSIGN_OR_RETURN(Statement statement, ParseTag(tag));
        body.push_back(std::move(statement));
      }
    }
    --depth_;
    return body;
  }

  absl::Status EndTag() { return tokens_.ExpectKind(Token::Kind::kBlockEnd, "%}"); }

  absl::StatusOr<Statement> ParseTag(const std::string& tag) {
    if (tag == "if") return ParseIf();
    if (tag == "for") return ParseFor();
    if (tag == "set") return ParseSet();
    if (tag == "macro") return ParseMacro();
    if (tag == "generation") {
      KVP_RETURN_IF_ERROR(EndTag());
      KVP_ASSIGN_OR_RETURN(Body body, ParseBody({"endgeneration"}));
      KVP_RETURN_IF_ERROR(EndTag());
      return Statement{Scoped{std::move(body)}};
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) return tokens_.Error(tag + " outside a loop");
      KVP_RETURN_IF_ERROR(EndTag());
      if (tag == "break") return Statement{Break{}};
      return Statement{Continue{}};
    }
    return tokens_.Error("tag " + tag);
  }

  absl::StatusOr<Statement> ParseIf() {
    If node;
    KVP_ASSIGN_OR_RETURN(node.condition, expressions_.Parse());
    KVP_RETURN_IF_ERROR(EndTag());
    KVP_ASSIGN_OR_RETURN(node.then, ParseBody({"endif", "elif", "else"}));
    if (end_ == "elif") {
      if (++depth_ > kMaxDepth) return tokens_.Error("an elif chain longer than 100");
      KVP_ASSIGN_OR_RETURN(Statement otherwise, ParseIf());
      --depth_;
      node.otherwise.push_back(std::move(otherwise));
      return Statement{std::move(node)};
    }
    KVP_RETURN_IF_ERROR(EndTag());
    if (end_ == "else") {
      KVP_ASSIGN_OR_RETURN(node.otherwise, ParseBody({"endif"}));
      KVP_RETURN_IF_ERROR(EndTag());
    }
    return Statement{std::move(node)};
  }

  absl::StatusOr<Statement> ParseFor() {
    For node;
    do {
      KVP_ASSIGN_OR_RETURN(std::string target, tokens_.TakeName());
      node.targets.push_back(std::move(target));
    } while (tokens_.SkipOperator(","));
    if (node.targets.size() > 2) return tokens_.Error("a for loop with three targets");
    KVP_RETURN_IF_ERROR(tokens_.ExpectName("in"));
    KVP_ASSIGN_OR_RETURN(node.iterable, expressions_.ParseIterable());
    if (tokens_.SkipName("if")) {
      KVP_ASSIGN_OR_RETURN(node.filter, expressions_.Parse());
    }
    if (tokens_.IsName("recursive")) return tokens_.Error("a recursive for loop");
    KVP_RETURN_IF_ERROR(EndTag());
    ++loops_;
    KVP_ASSIGN_OR_RETURN(node.body, ParseBody({"endfor", "else"}));
    --loops_;
    if (end_ == "else") {
      KVP_RETURN_IF_ERROR(EndTag());
      KVP_ASSIGN_OR_RETURN(node.otherwise, ParseBody({"endfor"}));
    }
    KVP_RETURN_IF_ERROR(EndTag());
    return Statement{std::move(node)};
  }

  absl::StatusOr<Statement> ParseSet() {
    KVP_ASSIGN_OR_RETURN(std::string name, tokens_.TakeName());
    std::string attribute;
    if (tokens_.SkipOperator(".")) {
      KVP_ASSIGN_OR_RETURN(attribute, tokens_.TakeName());
    }
    if (tokens_.IsOperator(",")) return tokens_.Error("set with several targets");
    if (tokens_.SkipOperator("=")) {
      KVP_ASSIGN_OR_RETURN(ExprPtr value, expressions_.Parse());
      if (tokens_.IsOperator(",")) return tokens_.Error("a tuple without parentheses");
      KVP_RETURN_IF_ERROR(EndTag());
      return Statement{Set{std::move(name), std::move(attribute), std::move(value)}};
    }
    if (!attribute.empty() || !tokens_.Is(Token::Kind::kBlockEnd)) {
      return tokens_.Unexpected("=");
    }
    KVP_RETURN_IF_ERROR(EndTag());
    KVP_ASSIGN_OR_RETURN(Body body, ParseBody({"endset"}));
    KVP_RETURN_IF_ERROR(EndTag());
    return Statement{SetBlock{std::move(name), std::move(body)}};
  }

  absl::StatusOr<Statement> ParseMacro() {
    auto macro = std::make_shared<Macro>();
    KVP_ASSIGN_OR_RETURN(macro->name, tokens_.TakeName());
    KVP_RETURN_IF_ERROR(tokens_.ExpectOperator("("));
    while (!tokens_.SkipOperator(")")) {
      KVP_ASSIGN_OR_RETURN(std::string parameter, tokens_.TakeName());
      ExprPtr fallback;
      if (tokens_.SkipOperator("=")) {
        KVP_ASSIGN_OR_RETURN(fallback, expressions_.Parse());
      }
      macro->parameters.emplace_back(std::move(parameter), std::move(fallback));
      if (!tokens_.IsOperator(")")) KVP_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
    }
    KVP_RETURN_IF_ERROR(EndTag());
    const int loops = std::exchange(loops_, 0);
    KVP_ASSIGN_OR_RETURN(macro->body, ParseBody({"endmacro"}));
    loops_ = loops;
    KVP_RETURN_IF_ERROR(EndTag());
    return Statement{MacroDefinition{std::move(macro)}};
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  std::string end_;  // the tag that ended the last body
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

absl::StatusOr<Body> ParseTemplate(const std::string& source) {
  KVP_ASSIGN_OR_RETURN(const std::vector<Token> tokens, Tokenize(source));
  return Parser(tokens).Run();
}

}  // namespace kvpareto::jinja
