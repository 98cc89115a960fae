// Methods of strings and dicts.
#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_text.h"

namespace kvpareto::jinja {
namespace {

using Args = std::span<const Value>;

// A string argument; none or missing: nullopt.
absl::StatusOr<std::optional<std::string_view>> OptionalText(const Value& value) {
  if (value.is_undefined() || value.is_none()) return std::optional<std::string_view>();
  const std::string* text = value.AsString();
  if (text == nullptr) return Failed("a string argument is a " + std::string(value.TypeName()));
  return std::optional<std::string_view>(*text);
}

absl::StatusOr<std::string_view> Text(const Value& value) {
  if (value.is_undefined()) return ReadUndefined(value);
  const std::string* text = value.AsString();
  if (text == nullptr) return Failed("a string argument is a " + std::string(value.TypeName()));
  return std::string_view(*text);
}

absl::StatusOr<int64_t> Count(const Value& value) {
  int64_t count = -1;
  if (!value.is_undefined() && !value.ToInteger(&count)) return Failed("a count is no integer");
  return count;
}

enum class Side { kLeft = 1, kRight = 2, kBoth = 3 };

template <Side kSide>
absl::StatusOr<Value> Strip(Budget& budget, const Value& self, Args args) {
  std::string_view text = *self.AsString();
  KVP_ASSIGN_OR_RETURN(const auto chars, OptionalText(args[0]));
  KVP_RETURN_IF_ERROR(budget.ChargeSearch(text.size(), chars ? chars->size() : 0));
  if (static_cast<int>(kSide) & 1) text = StripLeft(text, chars);
  if (static_cast<int>(kSide) & 2) text = StripRight(text, chars);
  return Value::String(std::string(text));
}

template <bool kAtStart>
absl::StatusOr<Value> HasAffix(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(const std::string_view affix, Text(args[0]));
  KVP_RETURN_IF_ERROR(budget.Charge(affix.size()));
  const std::string& text = *self.AsString();
  return Value::Bool(kAtStart ? text.starts_with(affix) : text.ends_with(affix));
}

absl::StatusOr<Value> SplitMethod(Budget& budget, const Value& self, Args args) {
  const std::string& text = *self.AsString();
  KVP_ASSIGN_OR_RETURN(const auto separator, OptionalText(args[0]));
  KVP_RETURN_IF_ERROR(budget.ChargeSearch(text.size(), separator ? separator->size() : 0));
  KVP_ASSIGN_OR_RETURN(const int64_t max_splits, Count(args[1]));
  if (separator && separator->empty()) return Failed("split: empty separator");
  std::vector<Value> parts;
  for (std::string& part : Split(text, separator, max_splits)) {
    KVP_RETURN_IF_ERROR(budget.Charge());
    parts.push_back(Value::String(std::move(part)));
  }
  return MakeList(std::move(parts));
}

absl::StatusOr<Value> ReplaceMethod(Budget& budget, const Value& self, Args args) {
  const std::string& text = *self.AsString();
  KVP_ASSIGN_OR_RETURN(const std::string_view old, Text(args[0]));
  KVP_ASSIGN_OR_RETURN(const std::string_view with, Text(args[1]));
  KVP_ASSIGN_OR_RETURN(const int64_t count, Count(args[2]));
  if (old.empty()) return Unsupported("replace of an empty string");
  // The most it can grow to, before anything is made.
  KVP_RETURN_IF_ERROR(budget.ChargeSearch(text.size(), old.size()));
  const size_t growth = with.size() > old.size() ? with.size() - old.size() : 0;
  if (growth > 0) {
    size_t occurrences = 0;
    for (size_t at = text.find(old); at != text.npos; at = text.find(old, at + old.size())) {
      ++occurrences;
    }
    KVP_RETURN_IF_ERROR(budget.ChargeText(text.size() + occurrences * growth));
  }
  return Value::String(Replace(text, old, with, count));
}

template <std::string (*kMap)(std::string_view)>
absl::StatusOr<Value> MapCase(Budget& budget, const Value& self, Args) {
  const std::string& text = *self.AsString();
  KVP_RETURN_IF_ERROR(budget.ChargeText(text.size()));
  if (!IsAscii(text)) return Unsupported("changing the case of text that is not ASCII");
  return Value::String(kMap(text));
}

absl::StatusOr<Value> Find(Budget& budget, const Value& self, Args args) {
  const std::string_view text = *self.AsString();
  KVP_ASSIGN_OR_RETURN(const std::string_view part, Text(args[0]));
  KVP_RETURN_IF_ERROR(budget.ChargeSearch(text.size(), part.size()));
  const size_t at = text.find(part);
  return Value::Int(at == text.npos ? -1 : CharacterCount(text.substr(0, at)));
}

absl::StatusOr<Value> Get(Budget& budget, const Value& self, Args args) {
  KVP_RETURN_IF_ERROR(budget.Charge(self.AsDict()->entries.size()));
  const std::string* key = args[0].AsString();
  const Value* found = key == nullptr ? nullptr : self.AsDict()->Find(*key);
  if (found != nullptr) return *found;
  return args[1].is_undefined() ? Value::MakeNone() : args[1];
}

enum class Part { kKeys, kValues, kItems };

template <Part kPart>
absl::StatusOr<Value> ListEntries(Budget& budget, const Value& self, Args) {
  std::vector<Value> out;
  for (const auto& [key, value] : self.AsDict()->entries) {
    KVP_RETURN_IF_ERROR(budget.Charge());
    if (kPart == Part::kKeys) {
      out.push_back(Value::String(key));
    } else if (kPart == Part::kValues) {
      out.push_back(value);
    } else {
      KVP_ASSIGN_OR_RETURN(Value pair, MakeList({Value::String(key), value}));
      out.push_back(std::move(pair));
    }
  }
  return MakeList(std::move(out));
}

const Builtin* FindIn(std::span<const Builtin> table, std::string_view name) {
  const auto it = std::find_if(table.begin(), table.end(),
                               [&](const Builtin& builtin) { return builtin.name == name; });
  return it == table.end() ? nullptr : &*it;
}

}  // namespace

const Builtin* FindStringMethod(std::string_view name) {
  static const std::array<Builtin, 12> kMethods = {{
      {"strip", {"chars"}, 0, Strip<Side::kBoth>},
      {"lstrip", {"chars"}, 0, Strip<Side::kLeft>},
      {"rstrip", {"chars"}, 0, Strip<Side::kRight>},
      {"startswith", {"prefix"}, 1, HasAffix<true>},
      {"endswith", {"suffix"}, 1, HasAffix<false>},
      {"split", {"sep", "maxsplit"}, 0, SplitMethod},
      {"replace", {"old", "new", "count"}, 2, ReplaceMethod},
      {"upper", {}, 0, MapCase<AsciiUpper>},
      {"lower", {}, 0, MapCase<AsciiLower>},
      {"capitalize", {}, 0, MapCase<AsciiCapitalize>},
      {"title", {}, 0, MapCase<AsciiTitle>},
      {"find", {"sub"}, 1, Find},
  }};
  return FindIn(kMethods, name);
}

const Builtin* FindDictMethod(std::string_view name) {
  static const std::array<Builtin, 4> kMethods = {{
      {"get", {"key", "default"}, 1, Get},
      {"keys", {}, 0, ListEntries<Part::kKeys>},
      {"values", {}, 0, ListEntries<Part::kValues>},
      {"items", {}, 0, ListEntries<Part::kItems>},
  }};
  return FindIn(kMethods, name);
}

}  // namespace kvpareto::jinja
