// A parsed template.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_value.h"

namespace kvpareto::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct ListLiteral {
  std::vector<ExprPtr> items;
};
struct DictLiteral {
  std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};
struct Attribute {  // object.name
  ExprPtr object;
  std::string name;
};
struct Subscript {  // object[index]
  ExprPtr object;
  ExprPtr index;
};
struct Slice {  // object[start:stop:step]; absent parts are null
  ExprPtr object;
  ExprPtr start;
  ExprPtr stop;
  ExprPtr step;
};
struct Call {  // name(...) of a function or macro
  ExprPtr callee;
  Arguments arguments;
};
struct Apply {  // a filter, test or method: `self` and arguments
  ExprPtr self;
  std::string name;
  // Filters and tests are resolved by the parser; a method (null) by the type of `self`.
  const Builtin* builtin = nullptr;
  Arguments arguments;
};
enum class BinaryOp : uint8_t {
  kOr,
  kAnd,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
  kAdd,
  kSubtract,
  kMultiply,
  kFloorDivide,
  kModulo,
  kConcat,
};
struct Binary {
  BinaryOp op;
  ExprPtr left;
  ExprPtr right;
};
struct Not {
  ExprPtr operand;
};
struct Negate {
  ExprPtr operand;
};
struct Conditional {  // then if condition else otherwise (may be null)
  ExprPtr condition;
  ExprPtr then;
  ExprPtr otherwise;
};

struct Expr {
  std::variant<Literal, Name, ListLiteral, DictLiteral, Attribute, Subscript, Slice, Call, Apply,
               Binary, Not, Negate, Conditional>
      node;
};

struct Statement;
using Body = std::vector<Statement>;

struct Text {
  std::string text;
};
struct Print {
  ExprPtr value;
};
struct If {
  ExprPtr condition;
  Body then;
  Body otherwise;  // an elif is an If in here
};
struct For {
  std::vector<std::string> targets;  // two: elements are unpacked
  ExprPtr iterable;
  ExprPtr filter;  // may be null
  Body body;
  Body otherwise;  // when there is no element
};
struct Set {
  std::string name;
  std::string attribute;  // of the namespace `name`; empty: `name` itself
  ExprPtr value;
};
struct SetBlock {
  std::string name;
  Body body;
};
struct Scoped {  // {% generation %}: rendered as it stands
  Body body;
};
struct Break {};
struct Continue {};
struct MacroDefinition {
  std::shared_ptr<const Macro> macro;
};

struct Statement {
  std::variant<Text, Print, If, For, Set, SetBlock, Scoped, Break, Continue, MacroDefinition> node;
};

struct Macro {
  std::string name;
  std::vector<std::pair<std::string, ExprPtr>> parameters;  // with default, or null
  Body body;
};

}  // namespace kvpareto::jinja
