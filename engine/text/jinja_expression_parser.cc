#include "engine/text/jinja_expression_parser.h"

#include <optional>
#include <utility>

namespace kvpareto::jinja {
namespace {

constexpr int kMaxDepth = 100;
constexpr int kMaxLinks = 1000;

template <typename Node>
ExprPtr Make(Node node) {
  return std::make_unique<Expr>(Expr{std::move(node)});
}

struct OperatorName {
  std::string_view text;
  BinaryOp op;
};

std::optional<BinaryOp> TakeOperator(TokenStream& tokens,
                                     std::initializer_list<OperatorName> operators) {
  for (const OperatorName& candidate : operators) {
    if (tokens.SkipOperator(candidate.text)) return candidate.op;
  }
  return std::nullopt;
}

std::optional<Value> NamedConstant(std::string_view name) {
  if (name == "true" || name == "True") return Value::Bool(true);
  if (name == "false" || name == "False") return Value::Bool(false);
  if (name == "none" || name == "None") return Value::MakeNone();
  return std::nullopt;
}

}  // namespace

absl::Status ExpressionParser::Enter() {
  if (depth_ == 0) links_ = 0;
  return ++depth_ > kMaxDepth ? tokens_.Error("an expression nested too deeply") : absl::OkStatus();
}

absl::Status ExpressionParser::CountLink() {
  return ++links_ > kMaxLinks ? tokens_.Error("an expression that is too long") : absl::OkStatus();
}

absl::StatusOr<ExprPtr> ExpressionParser::ParseIterable() {
  KVP_RETURN_IF_ERROR(Enter());
  KVP_ASSIGN_OR_RETURN(ExprPtr expr, Or());
  Leave();
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::Parse() {
  KVP_RETURN_IF_ERROR(Enter());
  KVP_ASSIGN_OR_RETURN(ExprPtr expr, Or());
  while (tokens_.SkipName("if")) {
    KVP_RETURN_IF_ERROR(CountLink());
    KVP_ASSIGN_OR_RETURN(ExprPtr condition, Or());
    ExprPtr otherwise;
    if (tokens_.SkipName("else")) {
      KVP_ASSIGN_OR_RETURN(otherwise, Parse());
    }
    expr = Make(Conditional{std::move(condition), std::move(expr), std::move(otherwise)});
  }
  Leave();
  return expr;
}

absl::StatusOr<ExprPtr> ExpressionParser::Or() {
  KVP_ASSIGN_OR_RETURN(ExprPtr left, And());
  while (tokens_.SkipName("or")) {
    KVP_RETURN_IF_ERROR(CountLink());
    KVP_ASSIGN_OR_RETURN(ExprPtr right, And());
    left = Make(Binary{BinaryOp::kOr, std::move(left), std::move(right)});
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::And() {
  KVP_ASSIGN_OR_RETURN(ExprPtr left, NotOperator());
  while (tokens_.SkipName("and")) {
    KVP_RETURN_IF_ERROR(CountLink());
    KVP_ASSIGN_OR_RETURN(ExprPtr right, NotOperator());
    left = Make(Binary{BinaryOp::kAnd, std::move(left), std::move(right)});
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::NotOperator() {
  if (!tokens_.SkipName("not")) return Comparison();
  KVP_RETURN_IF_ERROR(Enter());
  KVP_ASSIGN_OR_RETURN(ExprPtr operand, NotOperator());
  Leave();
  return Make(Not{std::move(operand)});
}

absl::StatusOr<ExprPtr> ExpressionParser::Comparison() {
  KVP_ASSIGN_OR_RETURN(ExprPtr left, Sum());
  int count = 0;
  while (true) {
    std::optional<BinaryOp> op = TakeOperator(tokens_, {{"==", BinaryOp::kEqual},
                                                        {"!=", BinaryOp::kNotEqual},
                                                        {"<=", BinaryOp::kLessEqual},
                                                        {"<", BinaryOp::kLess},
                                                        {">=", BinaryOp::kGreaterEqual},
                                                        {">", BinaryOp::kGreater}});
    if (!op && tokens_.SkipName("in")) op = BinaryOp::kIn;
    if (!op && tokens_.IsName("not") && tokens_.next().text == "in") {
      tokens_.Skip();
      tokens_.Skip();
      op = BinaryOp::kNotIn;
    }
    if (!op) return left;
    if (++count > 1) return tokens_.Error("chained comparison");
    KVP_ASSIGN_OR_RETURN(ExprPtr right, Sum());
    left = Make(Binary{*op, std::move(left), std::move(right)});
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::Sum() {
  KVP_ASSIGN_OR_RETURN(ExprPtr left, Concatenation());
  while (const auto op =
             TakeOperator(tokens_, {{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSubtract}})) {
    KVP_RETURN_IF_ERROR(CountLink());
    KVP_ASSIGN_OR_RETURN(ExprPtr right, Concatenation());
    left = Make(Binary{*op, std::move(left), std::move(right)});
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::Concatenation() {
  KVP_ASSIGN_OR_RETURN(ExprPtr left, Product());
  while (tokens_.SkipOperator("~")) {
    KVP_RETURN_IF_ERROR(CountLink());
    KVP_ASSIGN_OR_RETURN(ExprPtr right, Product());
    left = Make(Binary{BinaryOp::kConcat, std::move(left), std::move(right)});
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::Product() {
  KVP_ASSIGN_OR_RETURN(ExprPtr left, Unary());
  while (const auto op = TakeOperator(tokens_, {{"*", BinaryOp::kMultiply},
                                                {"//", BinaryOp::kFloorDivide},
                                                {"%", BinaryOp::kModulo}})) {
    KVP_RETURN_IF_ERROR(CountLink());
    KVP_ASSIGN_OR_RETURN(ExprPtr right, Unary());
    left = Make(Binary{*op, std::move(left), std::move(right)});
  }
  for (const std::string_view op : {"/", "**"}) {
    if (tokens_.IsOperator(op)) return tokens_.Error("operator " + std::string(op));
  }
  return left;
}

absl::StatusOr<ExprPtr> ExpressionParser::Unary() {
  if (tokens_.IsOperator("+")) return tokens_.Error("unary +");
  const bool negative = tokens_.SkipOperator("-");
  if (negative && tokens_.IsOperator("-")) return tokens_.Error("repeated unary -");
  KVP_ASSIGN_OR_RETURN(ExprPtr expr, Primary());
  KVP_ASSIGN_OR_RETURN(expr, Postfix(std::move(expr)));
  if (negative) expr = Make(Negate{std::move(expr)});
  return FiltersAndTests(std::move(expr));
}

absl::StatusOr<ExprPtr> ExpressionParser::Primary() {
  const Token token = tokens_.current();
  switch (token.kind) {
    case Token::Kind::kName: {
      if (token.text == "not" || token.text == "if" || token.text == "else" || token.text == "in" ||
          token.text == "is" || token.text == "and" || token.text == "or") {
        return tokens_.Unexpected("a value");
      }
      tokens_.Skip();
      if (auto constant = NamedConstant(token.text)) return Make(Literal{*std::move(constant)});
      return Make(Name{token.text});
    }
    case Token::Kind::kString: {
      std::string text;
      for (; tokens_.Is(Token::Kind::kString); tokens_.Skip()) text += tokens_.current().text;
      return Make(Literal{Value::String(std::move(text))});
    }
    case Token::Kind::kInteger:
      tokens_.Skip();
      return Make(Literal{Value::Int(token.integer)});
    default:
      break;
  }
  if (tokens_.SkipOperator("(")) return Parenthesized();
  if (tokens_.SkipOperator("[")) return ListOf("]", {});
  if (tokens_.SkipOperator("{")) return DictOf();
  return tokens_.Unexpected("a value");
}

// A tuple is a list: templates only search and visit them.
absl::StatusOr<ExprPtr> ExpressionParser::Parenthesized() {
  if (tokens_.SkipOperator(")")) return Make(ListLiteral{});
  KVP_ASSIGN_OR_RETURN(ExprPtr first, Parse());
  if (tokens_.SkipOperator(")")) return first;
  KVP_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
  std::vector<ExprPtr> items;
  items.push_back(std::move(first));
  return ListOf(")", std::move(items));
}

absl::StatusOr<ExprPtr> ExpressionParser::ListOf(std::string_view end, std::vector<ExprPtr> items) {
  while (!tokens_.SkipOperator(end)) {
    KVP_ASSIGN_OR_RETURN(ExprPtr item, Parse());
    items.push_back(std::move(item));
    if (!tokens_.IsOperator(end)) KVP_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
  }
  return Make(ListLiteral{std::move(items)});
}

absl::StatusOr<ExprPtr> ExpressionParser::DictOf() {
  DictLiteral dict;
  while (!tokens_.SkipOperator("}")) {
    KVP_ASSIGN_OR_RETURN(ExprPtr key, Parse());
    KVP_RETURN_IF_ERROR(tokens_.ExpectOperator(":"));
    KVP_ASSIGN_OR_RETURN(ExprPtr value, Parse());
    dict.entries.emplace_back(std::move(key), std::move(value));
    if (!tokens_.IsOperator("}")) KVP_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
  }
  return Make(std::move(dict));
}

absl::StatusOr<ExprPtr> ExpressionParser::Postfix(ExprPtr expr) {
  while (true) {
    KVP_RETURN_IF_ERROR(CountLink());
    if (tokens_.SkipOperator(".")) {
      if (!tokens_.Is(Token::Kind::kName)) return tokens_.Unexpected("an attribute name");
      KVP_ASSIGN_OR_RETURN(std::string name, tokens_.TakeName());
      expr = Make(Attribute{std::move(expr), std::move(name)});
    } else if (tokens_.SkipOperator("[")) {
      KVP_ASSIGN_OR_RETURN(expr, SubscriptOf(std::move(expr)));
    } else if (tokens_.SkipOperator("(")) {
      KVP_ASSIGN_OR_RETURN(expr, CallOf(std::move(expr)));
    } else {
      return expr;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::SubscriptOf(ExprPtr object) {
  ExprPtr parts[3];
  int part = 0;
  while (!tokens_.SkipOperator("]")) {
    if (tokens_.SkipOperator(":")) {
      if (++part > 2) return tokens_.Unexpected("]");
      continue;
    }
    if (parts[part] != nullptr) return tokens_.Unexpected("]");
    KVP_ASSIGN_OR_RETURN(parts[part], Parse());
  }
  if (part > 0) {
    return Make(
        Slice{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
  }
  if (parts[0] == nullptr) return tokens_.Error("syntax: empty subscript");
  return Make(Subscript{std::move(object), std::move(parts[0])});
}

absl::StatusOr<ExprPtr> ExpressionParser::CallOf(ExprPtr callee) {
  KVP_ASSIGN_OR_RETURN(Arguments arguments, ParseArguments());
  auto* attribute = std::get_if<Attribute>(&callee->node);
  if (attribute == nullptr) return Make(Call{std::move(callee), std::move(arguments)});
  const std::string name = attribute->name;
  if (FindStringMethod(name) == nullptr && FindDictMethod(name) == nullptr) {
    return tokens_.Error("method " + name + "()");
  }
  return Make(Apply{std::move(attribute->object), name, nullptr, std::move(arguments)});
}

absl::StatusOr<Arguments> ExpressionParser::ParseArguments() {
  Arguments arguments;
  while (!tokens_.SkipOperator(")")) {
    const Token& next = tokens_.next();
    if (tokens_.IsOperator("*") || tokens_.IsOperator("**")) {
      return tokens_.Error("argument unpacking");
    }
    if (tokens_.Is(Token::Kind::kName) && next.kind == Token::Kind::kOperator && next.text == "=") {
      KVP_ASSIGN_OR_RETURN(std::string name, tokens_.TakeName());
      tokens_.Skip();
      KVP_ASSIGN_OR_RETURN(ExprPtr value, Parse());
      arguments.named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!arguments.named.empty()) return tokens_.Unexpected("a named argument");
      KVP_ASSIGN_OR_RETURN(ExprPtr value, Parse());
      arguments.positional.push_back(std::move(value));
    }
    if (!tokens_.IsOperator(")")) KVP_RETURN_IF_ERROR(tokens_.ExpectOperator(","));
  }
  return arguments;
}

absl::StatusOr<ExprPtr> ExpressionParser::FiltersAndTests(ExprPtr expr) {
  while (true) {
    KVP_RETURN_IF_ERROR(CountLink());
    if (tokens_.SkipOperator("|")) {
      KVP_ASSIGN_OR_RETURN(expr, FilterOf(std::move(expr)));
    } else if (tokens_.SkipName("is")) {
      KVP_ASSIGN_OR_RETURN(expr, TestOf(std::move(expr)));
    } else if (tokens_.SkipOperator("(")) {
      KVP_ASSIGN_OR_RETURN(expr, CallOf(std::move(expr)));
    } else {
      return expr;
    }
  }
}

absl::StatusOr<ExprPtr> ExpressionParser::FilterOf(ExprPtr self) {
  KVP_ASSIGN_OR_RETURN(std::string name, tokens_.TakeName());
  const Builtin* builtin = FindFilter(name);
  if (builtin == nullptr) return tokens_.Error("filter " + name);
  Arguments arguments;
  if (tokens_.SkipOperator("(")) {
    KVP_ASSIGN_OR_RETURN(arguments, ParseArguments());
  }
  return Make(Apply{std::move(self), std::move(name), builtin, std::move(arguments)});
}

absl::StatusOr<ExprPtr> ExpressionParser::TestOf(ExprPtr self) {
  const bool negated = tokens_.SkipName("not");
  KVP_ASSIGN_OR_RETURN(std::string name, tokens_.TakeName());
  const Builtin* builtin = FindTest(name);
  if (builtin == nullptr) return tokens_.Error("test " + name);
  Arguments arguments;
  if (tokens_.SkipOperator("(")) {
    KVP_ASSIGN_OR_RETURN(arguments, ParseArguments());
  } else if (!builtin->parameters.empty()) {  // `x is divisibleby 3`
    KVP_ASSIGN_OR_RETURN(ExprPtr argument, Primary());
    KVP_ASSIGN_OR_RETURN(argument, Postfix(std::move(argument)));
    arguments.positional.push_back(std::move(argument));
  }
  ExprPtr test = Make(Apply{std::move(self), std::move(name), builtin, std::move(arguments)});
  return negated ? Make(Not{std::move(test)}) : std::move(test);
}

}  // namespace kvpareto::jinja
