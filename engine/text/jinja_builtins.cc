#include "engine/text/jinja_builtins.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/text/jinja_text.h"

namespace kvpareto::jinja {

absl::Status Budget::Charge(size_t bytes) {
  steps_ += 1 + static_cast<int64_t>(bytes / kBytesPerStep);
  return steps_ > kMaxSteps ? Failed("it does too much work") : absl::OkStatus();
}

absl::Status Budget::ChargeText(size_t bytes) {
  if (bytes > kMaxTextBytes) return Failed("it makes a text of more than 16 MiB");
  return Charge(bytes);
}

absl::Status Budget::ChargeSearch(size_t bytes, size_t pattern_bytes) {
  // Both are at most kMaxTextBytes. Most positions are dismissed after a few bytes; that all are
  // compared to the end takes a text and a pattern that are made for it.
  return Charge(bytes * (1 + pattern_bytes / 16));
}

absl::StatusOr<std::vector<Value>> BindArguments(const Builtin& builtin,
                                                 std::vector<Value> positional,
                                                 std::vector<std::pair<std::string, Value>> named) {
  const auto& parameters = builtin.parameters;
  const std::string name(builtin.name);
  if (positional.size() > parameters.size()) return Failed(name + ": too many arguments");
  std::vector<bool> given(parameters.size(), false);
  std::fill_n(given.begin(), positional.size(), true);
  positional.resize(parameters.size());
  for (auto& [key, value] : named) {
    const size_t index = std::find(parameters.begin(), parameters.end(), key) - parameters.begin();
    if (index == parameters.size()) return Unsupported(name + " with argument " + key);
    if (given[index]) return Failed(name + ": argument " + key + " given twice");
    positional[index] = std::move(value);
    given[index] = true;
  }
  for (size_t i = 0; i < builtin.required; ++i) {
    if (!given[i]) return Failed(name + ": no " + std::string(parameters[i]));
  }
  return positional;
}

absl::StatusOr<Value> GetAttribute(Budget& budget, const Value& object, std::string_view name) {
  const Value* found = nullptr;
  if (object.is_undefined()) return ReadUndefined(object);
  if (const Dict* dict = object.AsDict()) {
    KVP_RETURN_IF_ERROR(budget.Charge(dict->entries.size()));
    found = dict->Find(name);
  }
  if (const Namespace* space = object.AsNamespace()) {
    KVP_RETURN_IF_ERROR(budget.Charge(space->entries.size()));
    found = space->Find(name);
  }
  if (found != nullptr) return *found;
  return Value::MakeUndefined("attribute '" + std::string(name) + "' of a " +
                              std::string(object.TypeName()));
}

absl::StatusOr<bool> AreEqual(Budget& budget, const Value& a, const Value& b) {
  KVP_RETURN_IF_ERROR(budget.Charge(std::min(Weight(a), Weight(b))));
  return Equal(a, b);
}

absl::StatusOr<bool> Contains(Budget& budget, const Value& container, const Value& item) {
  if (const std::string* text = container.AsString()) {
    const std::string* part = item.AsString();
    if (part == nullptr) return Failed("'in <str>' needs a string on its left");
    KVP_RETURN_IF_ERROR(budget.ChargeSearch(text->size(), part->size()));
    return text->find(*part) != text->npos;
  }
  KVP_RETURN_IF_ERROR(budget.Charge(Weight(container)));
  if (const Dict* dict = container.AsDict()) {
    const std::string* key = item.AsString();
    return key != nullptr && dict->Find(*key) != nullptr;
  }
  if (const List* list = container.AsList()) {
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& other) { return Equal(other, item); });
  }
  if (container.is_undefined()) return false;
  return Failed("a " + std::string(container.TypeName()) + " contains nothing");
}

absl::StatusOr<int> Compare(Budget& budget, const Value& a, const Value& b) {
  KVP_RETURN_IF_ERROR(budget.Charge(std::min(Weight(a), Weight(b))));
  int64_t x = 0, y = 0;
  if (a.ToInteger(&x) && b.ToInteger(&y)) return x < y ? -1 : x > y ? 1 : 0;
  const std::string* s = a.AsString();
  const std::string* t = b.AsString();
  // UTF-8 sorts as its code points do.
  if (s != nullptr && t != nullptr) return s->compare(*t);
  if (a.is_undefined()) return ReadUndefined(a);
  if (b.is_undefined()) return ReadUndefined(b);
  return Failed("a " + std::string(a.TypeName()) + " cannot be ordered with a " +
                std::string(b.TypeName()));
}

}  // namespace kvpareto::jinja
