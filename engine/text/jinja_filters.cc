// Filters: what may follow `|`.
#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>

#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_text.h"

namespace kvpareto::jinja {
namespace {

using Args = std::span<const Value>;

// The filter that does what the string method of that name does to str(self).
template <const char* kMethod>
absl::StatusOr<Value> AsMethod(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(std::string text, ToText(self));
  return FindStringMethod(kMethod)->call(budget, Value::String(std::move(text)), args);
}
constexpr char kStrip[] = "strip";
constexpr char kUpper[] = "upper";
constexpr char kLower[] = "lower";
constexpr char kCapitalize[] = "capitalize";
constexpr char kTitle[] = "title";
constexpr char kReplace[] = "replace";

absl::StatusOr<Value> Length(Budget& budget, const Value& self, Args) {
  KVP_RETURN_IF_ERROR(budget.Charge());
  if (self.is_undefined()) return Value::Int(0);
  if (const std::string* text = self.AsString()) {
    KVP_RETURN_IF_ERROR(budget.Charge(text->size()));
    return Value::Int(CharacterCount(*text));
  }
  if (const List* list = self.AsList()) return Value::Int(list->items.size());
  if (const Dict* dict = self.AsDict()) return Value::Int(dict->entries.size());
  return Failed("a " + std::string(self.TypeName()) + " has no length");
}

absl::StatusOr<Value> String(Budget&, const Value& self, Args) {
  KVP_ASSIGN_OR_RETURN(std::string text, ToText(self));
  return Value::String(std::move(text));
}

absl::StatusOr<Value> Default(Budget&, const Value& self, Args args) {
  const bool replace = self.is_undefined() || (args[1].Truthy() && !self.Truthy());
  if (!replace) return self;
  return args[0].is_undefined() ? Value::String("") : args[0];
}

absl::StatusOr<std::vector<Value>> ChargedElements(Budget& budget, const Value& value) {
  const std::string* text = value.AsString();
  const List* list = value.AsList();
  const size_t elements = text != nullptr ? text->size() : list != nullptr ? list->items.size() : 0;
  KVP_RETURN_IF_ERROR(budget.ChargeElements(elements));
  return Elements(value);
}

template <bool kFirst>
absl::StatusOr<Value> End(Budget& budget, const Value& self, Args) {
  KVP_ASSIGN_OR_RETURN(const std::vector<Value> elements, ChargedElements(budget, self));
  if (elements.empty()) return Value::MakeUndefined("an element of an empty sequence");
  return kFirst ? elements.front() : elements.back();
}

absl::StatusOr<Value> ListFilter(Budget& budget, const Value& self, Args) {
  KVP_ASSIGN_OR_RETURN(std::vector<Value> elements, ChargedElements(budget, self));
  return MakeList(std::move(elements));
}

absl::StatusOr<Value> Reverse(Budget& budget, const Value& self, Args) {
  KVP_ASSIGN_OR_RETURN(std::vector<Value> elements, ChargedElements(budget, self));
  std::reverse(elements.begin(), elements.end());
  if (self.AsString() == nullptr) return MakeList(std::move(elements));
  std::string text;
  for (const Value& character : elements) text += *character.AsString();
  return Value::String(std::move(text));
}

absl::StatusOr<Value> Items(Budget& budget, const Value& self, Args args) {
  if (self.is_undefined()) return MakeList({});
  if (self.AsDict() == nullptr) return Failed("items: a dict is needed");
  return FindDictMethod("items")->call(budget, self, args);
}

absl::StatusOr<Value> Join(Budget& budget, const Value& self, Args args) {
  std::string separator;
  if (!args[0].is_undefined()) {
    KVP_ASSIGN_OR_RETURN(separator, ToText(args[0]));
  }
  KVP_ASSIGN_OR_RETURN(const std::vector<Value> elements, ChargedElements(budget, self));
  std::string out;
  for (size_t i = 0; i < elements.size(); ++i) {
    if (i > 0) out += separator;
    KVP_ASSIGN_OR_RETURN(const std::string part, ToText(elements[i]));
    KVP_RETURN_IF_ERROR(budget.Charge(part.size() + separator.size()));
    out += part;
    KVP_RETURN_IF_ERROR(out.size() > Budget::kMaxTextBytes ? budget.ChargeText(out.size())
                                                           : absl::OkStatus());
  }
  return Value::String(std::move(out));
}

absl::StatusOr<Value> Int(Budget&, const Value& self, Args args) {
  const Value fallback = args[0].is_undefined() ? Value::Int(0) : args[0];
  int64_t number = 0;
  if (self.ToInteger(&number)) return Value::Int(number);
  const std::string* text = self.AsString();
  if (text == nullptr) return fallback;
  const std::string_view digits = StripRight(StripLeft(*text));
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error == std::errc() && end == digits.data() + digits.size()) return Value::Int(number);
  return Unsupported("int of '" + *text + "'");
}

absl::StatusOr<Value> Json(Budget& budget, const Value& self, Args args) {
  int64_t indent = -1;
  if (!args[0].is_undefined() && !args[0].is_none() && !args[0].ToInteger(&indent)) {
    return Unsupported("tojson with an indent that is no number");
  }
  if (indent > 64) return Failed("tojson: the indent is too large");
  KVP_ASSIGN_OR_RETURN(std::string text, ToJson(budget, self, static_cast<int>(indent)));
  return Value::String(std::move(text));
}

absl::StatusOr<Value> Same(Budget&, const Value& self, Args) { return self; }

// One value; `a.b` reads attribute b of attribute a.
absl::StatusOr<Value> AttributePath(Budget& budget, Value value, const Value& path) {
  const std::string* text = path.AsString();
  if (text == nullptr) return Unsupported("an attribute that is not named by a string");
  for (const std::string& name : Split(*text, ".", -1)) {
    KVP_ASSIGN_OR_RETURN(value, GetAttribute(budget, value, name));
  }
  return value;
}

absl::StatusOr<bool> Passes(Budget& budget, const Value& value, const Value& test,
                            const Value& argument) {
  if (test.is_undefined()) return value.Truthy();
  const std::string* name = test.AsString();
  const Builtin* builtin = name == nullptr ? nullptr : FindTest(*name);
  if (builtin == nullptr) return Unsupported("test " + (name == nullptr ? "" : *name));
  std::vector<Value> arguments;
  if (!builtin->parameters.empty()) arguments.push_back(argument);
  KVP_ASSIGN_OR_RETURN(const Value result, builtin->call(budget, value, arguments));
  return result.Truthy();
}

template <bool kKeep>
absl::StatusOr<Value> Select(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(const std::vector<Value> elements, ChargedElements(budget, self));
  std::vector<Value> out;
  for (const Value& element : elements) {
    KVP_ASSIGN_OR_RETURN(const bool passes, Passes(budget, element, args[0], args[1]));
    if (passes == kKeep) out.push_back(element);
  }
  return MakeList(std::move(out));
}

template <bool kKeep>
absl::StatusOr<Value> SelectByAttribute(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(const std::vector<Value> elements, ChargedElements(budget, self));
  std::vector<Value> out;
  for (const Value& element : elements) {
    KVP_ASSIGN_OR_RETURN(const Value attribute, AttributePath(budget, element, args[0]));
    KVP_ASSIGN_OR_RETURN(const bool passes, Passes(budget, attribute, args[1], args[2]));
    if (passes == kKeep) out.push_back(element);
  }
  return MakeList(std::move(out));
}

absl::StatusOr<Value> Map(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(std::vector<Value> elements, ChargedElements(budget, self));
  const std::string* name = args[0].AsString();
  const Builtin* filter = name == nullptr ? nullptr : FindFilter(*name);
  if (name != nullptr && filter == nullptr) return Unsupported("filter " + *name);
  if (filter != nullptr && filter->required > 0) return Unsupported("map of filter " + *name);
  if (filter == nullptr && args[1].is_undefined()) return Failed("map: a filter is needed");
  for (Value& element : elements) {
    if (filter != nullptr) {
      const std::vector<Value> arguments(filter->parameters.size());
      KVP_ASSIGN_OR_RETURN(element, filter->call(budget, element, arguments));
    } else {
      KVP_ASSIGN_OR_RETURN(element, AttributePath(budget, element, args[1]));
      if (element.is_undefined() && !args[2].is_undefined()) element = args[2];
    }
  }
  return MakeList(std::move(elements));
}

}  // namespace

const Builtin* FindFilter(std::string_view name) {
  static const std::array<Builtin, 25> kFilters = {{
      {"trim", {"chars"}, 0, AsMethod<kStrip>},
      {"upper", {}, 0, AsMethod<kUpper>},
      {"lower", {}, 0, AsMethod<kLower>},
      {"capitalize", {}, 0, AsMethod<kCapitalize>},
      {"title", {}, 0, AsMethod<kTitle>},
      {"replace", {"old", "new", "count"}, 2, AsMethod<kReplace>},
      {"length", {}, 0, Length},
      {"count", {}, 0, Length},
      {"string", {}, 0, String},
      {"default", {"default_value", "boolean"}, 0, Default},
      {"d", {"default_value", "boolean"}, 0, Default},
      {"first", {}, 0, End<true>},
      {"last", {}, 0, End<false>},
      {"list", {}, 0, ListFilter},
      {"reverse", {}, 0, Reverse},
      {"items", {}, 0, Items},
      {"join", {"d"}, 0, Join},
      {"int", {"default"}, 0, Int},
      {"tojson", {"indent"}, 0, Json},
      {"safe", {}, 0, Same},
      {"select", {"test", "argument"}, 0, Select<true>},
      {"reject", {"test", "argument"}, 0, Select<false>},
      {"selectattr", {"attribute", "test", "argument"}, 1, SelectByAttribute<true>},
      {"rejectattr", {"attribute", "test", "argument"}, 1, SelectByAttribute<false>},
      {"map", {"filter", "attribute", "default"}, 0, Map},
  }};
  const auto it = std::find_if(kFilters.begin(), kFilters.end(),
                               [&](const Builtin& filter) { return filter.name == name; });
  return it == kFilters.end() ? nullptr : &*it;
}

}  // namespace kvpareto::jinja
