// Runs a parsed template.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/jinja_ast.h"

namespace kvpareto::jinja {

// One rendering. Errors: INVALID_ARGUMENT (CHAT_TEMPLATE_REJECTED) with the text that the template
// gave to raise_exception, (CHAT_TEMPLATE_FAILED) for undefined values, wrong types and limits;
// UNIMPLEMENTED (CHAT_TEMPLATE_UNSUPPORTED) for a construct that only shows when it runs.
class Evaluator {
 public:
  using Variables = std::vector<std::pair<std::string, Value>>;

  explicit Evaluator(Variables variables);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  absl::StatusOr<std::string> Render(const Body& body);

 private:
  enum class Flow : uint8_t { kNext, kBreak, kContinue };

  // Statements (jinja_statements.cc).
  absl::StatusOr<Flow> Run(const Body& body);
  absl::StatusOr<Flow> RunScoped(const Body& body);
  absl::StatusOr<Flow> Execute(const Text& text);
  absl::StatusOr<Flow> Execute(const Print& print);
  absl::StatusOr<Flow> Execute(const If& node);
  absl::StatusOr<Flow> Execute(const For& loop);
  absl::StatusOr<Flow> Execute(const Set& set);
  absl::StatusOr<Flow> Execute(const SetBlock& set);
  absl::StatusOr<Flow> Execute(const Scoped& scoped);
  absl::StatusOr<Flow> Execute(const Break&) { return Flow::kBreak; }
  absl::StatusOr<Flow> Execute(const Continue&) { return Flow::kContinue; }
  absl::StatusOr<Flow> Execute(const MacroDefinition& definition);
  absl::Status Write(std::string_view text);
  absl::StatusOr<std::vector<Value>> LoopElements(const For& loop);
  absl::Status BindTargets(const For& loop, const Value& element);

  // Expressions (jinja_expressions.cc). An absent expression is undefined.
  absl::StatusOr<Value> Evaluate(const ExprPtr& expr);
  absl::StatusOr<Value> Evaluate(const Literal& literal) { return literal.value; }
  absl::StatusOr<Value> Evaluate(const Name& name);
  absl::StatusOr<Value> Evaluate(const ListLiteral& list);
  absl::StatusOr<Value> Evaluate(const DictLiteral& dict);
  absl::StatusOr<Value> Evaluate(const Attribute& attribute);
  absl::StatusOr<Value> Evaluate(const Subscript& subscript);
  absl::StatusOr<Value> Evaluate(const Slice& slice);
  absl::StatusOr<Value> Evaluate(const Call& call);
  absl::StatusOr<Value> Evaluate(const Apply& apply);
  absl::StatusOr<Value> Evaluate(const Binary& binary);
  absl::StatusOr<Value> Evaluate(const Not& node);
  absl::StatusOr<Value> Evaluate(const Negate& negate);
  absl::StatusOr<Value> Evaluate(const Conditional& conditional);

  struct EvaluatedArguments {
    std::vector<Value> positional;
    Variables named;
  };
  absl::StatusOr<EvaluatedArguments> EvaluateArguments(const Arguments& arguments);
  absl::StatusOr<Value> CallFunction(Function function, EvaluatedArguments arguments);
  absl::StatusOr<Value> CallMacro(const Macro& macro, EvaluatedArguments arguments);
  absl::StatusOr<Value> MakeNamespace(EvaluatedArguments arguments);

  const Value* Lookup(std::string_view name) const;
  void Assign(std::string_view name, Value value);

  Budget budget_;
  std::string out_;
  // Names by scope: the first holds the template's, the last is the innermost. Scopes between the
  // first and frame_ belong to callers of the running macro and cannot be seen.
  std::vector<Variables> scopes_;
  size_t frame_ = 0;
  int macro_depth_ = 0;
  // All of them: they may refer to each other in cycles, which the destructor cuts.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

// The operators that are functions of two values (jinja_operators.cc).
absl::StatusOr<Value> ApplyOperator(Budget& budget, BinaryOp op, const Value& left,
                                    const Value& right);
// object[start:stop:step]; undefined and none parts are absent.
absl::StatusOr<Value> ApplySlice(Budget& budget, const Value& object, const Value& start,
                                 const Value& stop, const Value& step);
// object[index].
absl::StatusOr<Value> ApplySubscript(Budget& budget, const Value& object, const Value& index);

}  // namespace kvpareto::jinja
