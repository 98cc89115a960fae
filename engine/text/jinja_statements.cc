#include <string>
#include <utility>
#include <variant>

#include "engine/text/jinja_evaluator.h"

namespace kvpareto::jinja {

Evaluator::Evaluator(Variables variables) {
  scopes_.push_back({{"namespace", Value(Value::Storage(Function::kNamespace))},
                     {"range", Value(Value::Storage(Function::kRange))},
                     {"raise_exception", Value(Value::Storage(Function::kRaiseException))},
                     {"dict", Value(Value::Storage(Function::kDict))}});
  for (auto& [name, value] : variables) Assign(name, std::move(value));
}

Evaluator::~Evaluator() {
  for (const auto& space : namespaces_) space->entries.clear();
}

absl::StatusOr<std::string> Evaluator::Render(const Body& body) {
  KVP_RETURN_IF_ERROR(Run(body).status());
  return std::move(out_);
}

absl::StatusOr<Evaluator::Flow> Evaluator::Run(const Body& body) {
  for (const Statement& statement : body) {
    KVP_RETURN_IF_ERROR(budget_.Charge());
    KVP_ASSIGN_OR_RETURN(
        const Flow flow,
        std::visit([this](const auto& node) { return Execute(node); }, statement.node));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::RunScoped(const Body& body) {
  scopes_.emplace_back();
  absl::StatusOr<Flow> flow = Run(body);
  scopes_.pop_back();
  return flow;
}

absl::Status Evaluator::Write(std::string_view text) {
  KVP_RETURN_IF_ERROR(budget_.Charge(text.size()));
  if (out_.size() + text.size() > Budget::kMaxTextBytes) {
    return Failed("its output is more than 16 MiB");
  }
  out_ += text;
  return absl::OkStatus();
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const Text& text) {
  KVP_RETURN_IF_ERROR(Write(text.text));
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const Print& print) {
  KVP_ASSIGN_OR_RETURN(const Value value, Evaluate(print.value));
  if (const std::string* text = value.AsString()) {
    KVP_RETURN_IF_ERROR(Write(*text));
  } else {
    KVP_ASSIGN_OR_RETURN(const std::string converted, ToText(value));
    KVP_RETURN_IF_ERROR(Write(converted));
  }
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const If& node) {
  KVP_ASSIGN_OR_RETURN(const Value condition, Evaluate(node.condition));
  return Run(condition.Truthy() ? node.then : node.otherwise);
}

absl::Status Evaluator::BindTargets(const For& loop, const Value& element) {
  if (loop.targets.size() == 1) {
    Assign(loop.targets[0], element);
    return absl::OkStatus();
  }
  const List* parts = element.AsList();
  if (parts == nullptr || parts->items.size() != loop.targets.size()) {
    return Failed("a for loop over pairs met something else");
  }
  for (size_t i = 0; i < loop.targets.size(); ++i) Assign(loop.targets[i], parts->items[i]);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Value>> Evaluator::LoopElements(const For& loop) {
  KVP_ASSIGN_OR_RETURN(const Value iterable, Evaluate(loop.iterable));
  const std::string* text = iterable.AsString();
  KVP_RETURN_IF_ERROR(budget_.ChargeElements(text == nullptr ? 0 : text->size()));
  KVP_ASSIGN_OR_RETURN(std::vector<Value> elements, Elements(iterable));
  KVP_RETURN_IF_ERROR(budget_.ChargeElements(elements.size()));
  if (loop.filter == nullptr) return elements;
  std::vector<Value> kept;
  scopes_.emplace_back();
  for (Value& element : elements) {
    KVP_RETURN_IF_ERROR(BindTargets(loop, element));
    KVP_ASSIGN_OR_RETURN(const Value keep, Evaluate(loop.filter));
    if (keep.Truthy()) kept.push_back(std::move(element));
  }
  scopes_.pop_back();
  return kept;
}

namespace {

absl::StatusOr<Value> LoopVariable(const std::vector<Value>& elements, size_t i) {
  const auto size = static_cast<int64_t>(elements.size());
  const auto index = static_cast<int64_t>(i);
  const bool last = index + 1 == size;
  return MakeDict({
      {"index", Value::Int(index + 1)},
      {"index0", Value::Int(index)},
      {"revindex", Value::Int(size - index)},
      {"revindex0", Value::Int(size - index - 1)},
      {"first", Value::Bool(index == 0)},
      {"last", Value::Bool(last)},
      {"length", Value::Int(size)},
      {"previtem",
       index == 0 ? Value::MakeUndefined("loop.previtem of the first element") : elements[i - 1]},
      {"nextitem",
       last ? Value::MakeUndefined("loop.nextitem of the last element") : elements[i + 1]},
  });
}

}  // namespace

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const For& loop) {
  KVP_ASSIGN_OR_RETURN(const std::vector<Value> elements, LoopElements(loop));
  if (elements.empty()) return RunScoped(loop.otherwise);
  for (size_t i = 0; i < elements.size(); ++i) {
    scopes_.emplace_back();  // names that are set in the body live for one element
    KVP_ASSIGN_OR_RETURN(Value variable, LoopVariable(elements, i));
    Assign("loop", std::move(variable));
    KVP_RETURN_IF_ERROR(BindTargets(loop, elements[i]));
    KVP_ASSIGN_OR_RETURN(const Flow flow, Run(loop.body));
    scopes_.pop_back();
    if (flow == Flow::kBreak) break;
  }
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const Set& set) {
  KVP_ASSIGN_OR_RETURN(Value value, Evaluate(set.value));
  if (set.attribute.empty()) {
    Assign(set.name, std::move(value));
    return Flow::kNext;
  }
  const Value* target = Lookup(set.name);
  Namespace* space = target == nullptr ? nullptr : target->AsNamespace();
  if (space == nullptr) return Failed("set " + set.name + "." + set.attribute + ": no namespace");
  space->Set(set.attribute, std::move(value));
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const SetBlock& set) {
  std::string outer = std::exchange(out_, {});
  KVP_RETURN_IF_ERROR(RunScoped(set.body).status());
  Assign(set.name, Value::String(std::exchange(out_, std::move(outer))));
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const Scoped& scoped) {
  return RunScoped(scoped.body);
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const MacroDefinition& definition) {
  const Macro* macro = definition.macro.get();
  Assign(macro->name, Value(Value::Storage(macro)));
  return Flow::kNext;
}

const Value* Evaluator::Lookup(std::string_view name) const {
  for (size_t i = scopes_.size(); i-- > 0;) {
    if (i > 0 && i < frame_) continue;
    for (const auto& [key, value] : scopes_[i]) {
      if (key == name) return &value;
    }
  }
  return nullptr;
}

void Evaluator::Assign(std::string_view name, Value value) {
  for (auto& [key, old] : scopes_.back()) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  scopes_.back().emplace_back(name, std::move(value));
}

}  // namespace kvpareto::jinja
