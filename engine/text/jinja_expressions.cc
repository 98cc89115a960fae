#include <limits>
#include <string>
#include <utility>
#include <variant>

#include "engine/text/jinja_evaluator.h"

namespace kvpareto::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;
constexpr size_t kMaxNamespaces = 10'000;
constexpr int kMaxMacroDepth = 32;

}  // namespace

absl::StatusOr<Value> Evaluator::Evaluate(const ExprPtr& expr) {
  if (expr == nullptr) return Value();
  KVP_RETURN_IF_ERROR(budget_.Charge());
  return std::visit([this](const auto& node) { return Evaluate(node); }, expr->node);
}

absl::StatusOr<Value> Evaluator::Evaluate(const Name& name) {
  size_t names = 0;  // that are looked through at most
  for (const Variables& scope : scopes_) names += scope.size();
  KVP_RETURN_IF_ERROR(budget_.Charge(names));
  const Value* value = Lookup(name.name);
  return value != nullptr ? *value : Value::MakeUndefined("'" + name.name + "'");
}

absl::StatusOr<Value> Evaluator::Evaluate(const ListLiteral& list) {
  std::vector<Value> items;
  for (const ExprPtr& item : list.items) {
    KVP_ASSIGN_OR_RETURN(Value value, Evaluate(item));
    items.push_back(std::move(value));
  }
  return MakeList(std::move(items));
}

absl::StatusOr<Value> Evaluator::Evaluate(const DictLiteral& dict) {
  Namespace entries;  // for its Set: a repeated key keeps its place and takes the last value
  for (const auto& [key_expr, value_expr] : dict.entries) {
    KVP_ASSIGN_OR_RETURN(const Value key, Evaluate(key_expr));
    KVP_ASSIGN_OR_RETURN(Value value, Evaluate(value_expr));
    if (key.AsString() == nullptr) return Unsupported("a dict key that is no string");
    KVP_RETURN_IF_ERROR(budget_.Charge(entries.entries.size()));
    entries.Set(*key.AsString(), std::move(value));
  }
  return MakeDict(std::move(entries.entries));
}

absl::StatusOr<Value> Evaluator::Evaluate(const Attribute& attribute) {
  KVP_ASSIGN_OR_RETURN(const Value object, Evaluate(attribute.object));
  return GetAttribute(budget_, object, attribute.name);
}

absl::StatusOr<Value> Evaluator::Evaluate(const Subscript& subscript) {
  KVP_ASSIGN_OR_RETURN(const Value object, Evaluate(subscript.object));
  KVP_ASSIGN_OR_RETURN(const Value index, Evaluate(subscript.index));
  return ApplySubscript(budget_, object, index);
}

absl::StatusOr<Value> Evaluator::Evaluate(const Slice& slice) {
  KVP_ASSIGN_OR_RETURN(const Value object, Evaluate(slice.object));
  KVP_ASSIGN_OR_RETURN(const Value start, Evaluate(slice.start));
  KVP_ASSIGN_OR_RETURN(const Value stop, Evaluate(slice.stop));
  KVP_ASSIGN_OR_RETURN(const Value step, Evaluate(slice.step));
  return ApplySlice(budget_, object, start, stop, step);
}

absl::StatusOr<Value> Evaluator::Evaluate(const Binary& binary) {
  KVP_ASSIGN_OR_RETURN(Value left, Evaluate(binary.left));
  if (binary.op == BinaryOp::kOr) return left.Truthy() ? left : Evaluate(binary.right);
  if (binary.op == BinaryOp::kAnd) return left.Truthy() ? Evaluate(binary.right) : left;
  KVP_ASSIGN_OR_RETURN(const Value right, Evaluate(binary.right));
  return ApplyOperator(budget_, binary.op, left, right);
}

absl::StatusOr<Value> Evaluator::Evaluate(const Not& node) {
  KVP_ASSIGN_OR_RETURN(const Value operand, Evaluate(node.operand));
  return Value::Bool(!operand.Truthy());
}

absl::StatusOr<Value> Evaluator::Evaluate(const Negate& negate) {
  KVP_ASSIGN_OR_RETURN(const Value operand, Evaluate(negate.operand));
  return ApplyOperator(budget_, BinaryOp::kSubtract, Value::Int(0), operand);
}

absl::StatusOr<Value> Evaluator::Evaluate(const Conditional& conditional) {
  KVP_ASSIGN_OR_RETURN(const Value condition, Evaluate(conditional.condition));
  return Evaluate(condition.Truthy() ? conditional.then : conditional.otherwise);
}

absl::StatusOr<Evaluator::EvaluatedArguments> Evaluator::EvaluateArguments(
    const Arguments& arguments) {
  EvaluatedArguments out;
  for (const ExprPtr& argument : arguments.positional) {
    KVP_ASSIGN_OR_RETURN(Value value, Evaluate(argument));
    out.positional.push_back(std::move(value));
  }
  for (const auto& [name, argument] : arguments.named) {
    KVP_ASSIGN_OR_RETURN(Value value, Evaluate(argument));
    out.named.emplace_back(name, std::move(value));
  }
  return out;
}

absl::StatusOr<Value> Evaluator::Evaluate(const Apply& apply) {
  KVP_ASSIGN_OR_RETURN(const Value self, Evaluate(apply.self));
  const Builtin* builtin = apply.builtin;
  if (builtin == nullptr) {
    if (self.is_undefined()) return ReadUndefined(self);
    if (self.AsString() != nullptr) builtin = FindStringMethod(apply.name);
    if (self.AsDict() != nullptr) builtin = FindDictMethod(apply.name);
    if (builtin == nullptr) {
      return Unsupported("method " + apply.name + "() of a " + std::string(self.TypeName()));
    }
  }
  KVP_ASSIGN_OR_RETURN(EvaluatedArguments arguments, EvaluateArguments(apply.arguments));
  KVP_ASSIGN_OR_RETURN(
      const std::vector<Value> bound,
      BindArguments(*builtin, std::move(arguments.positional), std::move(arguments.named)));
  return builtin->call(budget_, self, bound);
}

absl::StatusOr<Value> Evaluator::Evaluate(const Call& call) {
  KVP_ASSIGN_OR_RETURN(const Value callee, Evaluate(call.callee));
  KVP_ASSIGN_OR_RETURN(EvaluatedArguments arguments, EvaluateArguments(call.arguments));
  if (callee.Is<Function>()) {
    return CallFunction(std::get<Function>(callee.storage()), std::move(arguments));
  }
  if (callee.Is<const Macro*>()) {
    return CallMacro(*std::get<const Macro*>(callee.storage()), std::move(arguments));
  }
  const auto* name = std::get_if<Name>(&call.callee->node);
  if (name != nullptr && callee.is_undefined()) return Unsupported("function " + name->name + "()");
  return Failed("a " + std::string(callee.TypeName()) + " cannot be called");
}

absl::StatusOr<Value> Evaluator::CallFunction(Function function, EvaluatedArguments arguments) {
  switch (function) {
    case Function::kNamespace:
      return MakeNamespace(std::move(arguments));
    case Function::kDict:
      if (!arguments.positional.empty()) return Unsupported("dict() of a value");
      return MakeDict(std::move(arguments.named));
    case Function::kRaiseException: {
      if (arguments.positional.size() != 1 || !arguments.named.empty()) {
        return Failed("raise_exception needs one message");
      }
      KVP_ASSIGN_OR_RETURN(const std::string message, ToText(arguments.positional[0]));
      return MakeError(absl::StatusCode::kInvalidArgument, "CHAT_TEMPLATE_REJECTED", message);
    }
    case Function::kRange:
      break;
  }
  int64_t bounds[3] = {0, 0, 1};
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 3 || !arguments.named.empty()) return Failed("range: wrong arguments");
  for (size_t i = 0; i < count; ++i) {
    if (!arguments.positional[i].ToInteger(&bounds[count == 1 ? 1 : i])) {
      return Failed("range: an argument is no integer");
    }
  }
  const auto [start, stop, step] = bounds;
  if (step == 0) return Failed("range: the step is 0");
  std::vector<Value> items;
  for (__int128 i = start; step > 0 ? i < stop : i > stop; i += step) {
    if (static_cast<int64_t>(items.size()) == kMaxRange) return Failed("range: too many numbers");
    KVP_RETURN_IF_ERROR(budget_.Charge());
    items.push_back(Value::Int(static_cast<int64_t>(i)));
  }
  return MakeList(std::move(items));
}

absl::StatusOr<Value> Evaluator::MakeNamespace(EvaluatedArguments arguments) {
  if (namespaces_.size() == kMaxNamespaces) return Failed("too many namespaces");
  auto space = std::make_shared<Namespace>();
  for (const Value& source : arguments.positional) {
    if (source.AsDict() == nullptr) return Unsupported("namespace() of something not a dict");
    for (const auto& [name, value] : source.AsDict()->entries) space->Set(name, value);
  }
  for (auto& [name, value] : arguments.named) space->Set(name, std::move(value));
  namespaces_.push_back(space);
  return Value(Value::Storage(std::move(space)));
}

absl::StatusOr<Value> Evaluator::CallMacro(const Macro& macro, EvaluatedArguments arguments) {
  if (++macro_depth_ > kMaxMacroDepth) return Failed("macros call each other too deeply");
  Builtin signature{macro.name, {}, 0, nullptr};
  for (const auto& [name, fallback] : macro.parameters) signature.parameters.push_back(name);
  KVP_ASSIGN_OR_RETURN(
      std::vector<Value> bound,
      BindArguments(signature, std::move(arguments.positional), std::move(arguments.named)));
  const size_t outer_frame = std::exchange(frame_, scopes_.size());
  scopes_.emplace_back();
  for (size_t i = 0; i < bound.size(); ++i) {
    const auto& [name, fallback] = macro.parameters[i];
    if (bound[i].is_undefined() && fallback != nullptr) {
      KVP_ASSIGN_OR_RETURN(bound[i], Evaluate(fallback));
    }
    Assign(name, std::move(bound[i]));
  }
  std::string outer = std::exchange(out_, {});
  KVP_RETURN_IF_ERROR(Run(macro.body).status());
  std::string text = std::exchange(out_, std::move(outer));
  scopes_.pop_back();
  frame_ = outer_frame;
  --macro_depth_;
  return Value::String(std::move(text));
}

}  // namespace kvpareto::jinja
