#include "engine/text/jinja_value.h"

#include <algorithm>

#include "engine/text/utf8.h"

namespace kvpareto::jinja {
namespace {

constexpr int kMaxDepth = 100;

template <typename Entries>
const Value* FindEntry(const Entries& entries, std::string_view key) {
  for (const auto& [name, value] : entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

int DepthOf(const Value& value) {
  if (const List* list = value.AsList()) return list->depth;
  if (const Dict* dict = value.AsDict()) return dict->depth;
  return 0;
}

// The sum over `parts`, each a value with its container's own overhead.
size_t AddWeight(size_t sum, const Value& part) {
  return std::min(sum + sizeof(Value) + Weight(part), kMaxWeight);
}

bool EqualLists(const List& a, const List& b) {
  return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), Equal);
}

bool EqualDicts(const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = b.Find(key);
    if (other == nullptr || !Equal(value, *other)) return false;
  }
  return true;
}

}  // namespace

const Value* Dict::Find(std::string_view key) const { return FindEntry(entries, key); }
const Value* Namespace::Find(std::string_view key) const { return FindEntry(entries, key); }

void Namespace::Set(std::string_view key, Value value) {
  for (auto& [name, old] : entries) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  entries.emplace_back(key, std::move(value));
}

bool Value::ToInteger(int64_t* out) const {
  if (const bool* flag = std::get_if<bool>(&storage_)) {
    *out = *flag ? 1 : 0;
    return true;
  }
  if (const int64_t* number = AsInt()) {
    *out = *number;
    return true;
  }
  return false;
}

bool Value::Truthy() const {
  if (is_undefined() || is_none()) return false;
  if (int64_t number; ToInteger(&number)) return number != 0;
  if (const std::string* text = AsString()) return !text->empty();
  if (const List* list = AsList()) return !list->items.empty();
  if (const Dict* dict = AsDict()) return !dict->entries.empty();
  return true;
}

std::string_view Value::TypeName() const {
  constexpr std::string_view kNames[] = {"Undefined", "NoneType", "bool",      "int",      "str",
                                         "list",      "dict",     "Namespace", "function", "macro"};
  static_assert(std::size(kNames) == std::variant_size_v<Storage>);
  return kNames[storage_.index()];
}

absl::Status Failed(const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "CHAT_TEMPLATE_FAILED",
                   "chat template: " + message);
}

absl::Status Unsupported(const std::string& unprintable) {
  std::string construct = unprintable;  // it may quote the template, control characters included
  for (char& c : construct) c = static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  return MakeError(absl::StatusCode::kUnimplemented, "CHAT_TEMPLATE_UNSUPPORTED",
                   "chat template: unsupported: " + construct, {{"construct", construct}});
}

absl::Status ReadUndefined(const Value& undefined) {
  const auto* details = std::get_if<Undefined>(&undefined.storage());
  const bool named = details != nullptr && !details->what.empty();
  return Failed((named ? details->what : "something") + " is undefined");
}

absl::StatusOr<Value> MakeList(std::vector<Value> items) {
  List list{std::move(items), 1};
  for (const Value& item : list.items) {
    list.depth = std::max(list.depth, DepthOf(item) + 1);
    list.weight = AddWeight(list.weight, item);
  }
  if (list.depth > kMaxDepth) return Failed("a list is nested too deeply");
  return Value(std::make_shared<const List>(std::move(list)));
}

absl::StatusOr<Value> MakeDict(std::vector<std::pair<std::string, Value>> entries) {
  Dict dict{std::move(entries), 1};
  for (const auto& [key, value] : dict.entries) {
    dict.depth = std::max(dict.depth, DepthOf(value) + 1);
    dict.weight = AddWeight(dict.weight + key.size(), value);
  }
  if (dict.depth > kMaxDepth) return Failed("a dict is nested too deeply");
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

size_t Weight(const Value& value) {
  if (const std::string* text = value.AsString()) return text->size();
  if (const List* list = value.AsList()) return list->weight;
  if (const Dict* dict = value.AsDict()) return dict->weight;
  return 0;
}

bool Equal(const Value& a, const Value& b) {
  int64_t x = 0, y = 0;
  if (a.ToInteger(&x) && b.ToInteger(&y)) return x == y;
  if (a.storage().index() != b.storage().index()) return false;
  if (const std::string* text = a.AsString()) return *text == *b.AsString();
  if (const List* list = a.AsList()) return EqualLists(*list, *b.AsList());
  if (const Dict* dict = a.AsDict()) return EqualDicts(*dict, *b.AsDict());
  if (const Namespace* space = a.AsNamespace()) return space == b.AsNamespace();
  if (a.Is<Function>()) return std::get<Function>(a.storage()) == std::get<Function>(b.storage());
  if (a.Is<const Macro*>()) {
    return std::get<const Macro*>(a.storage()) == std::get<const Macro*>(b.storage());
  }
  return true;  // undefined == undefined, none == none
}

absl::StatusOr<std::string> ToText(const Value& value) {
  if (value.is_undefined()) return ReadUndefined(value);
  if (value.is_none()) return std::string("None");
  if (const bool* flag = std::get_if<bool>(&value.storage())) return *flag ? "True" : "False";
  if (const int64_t* number = value.AsInt()) return std::to_string(*number);
  if (const std::string* text = value.AsString()) return *text;
  return Unsupported("a " + std::string(value.TypeName()) + " used as text");
}

absl::StatusOr<std::vector<Value>> Elements(const Value& value) {
  if (value.is_undefined()) return std::vector<Value>();
  if (const List* list = value.AsList()) return list->items;
  std::vector<Value> out;
  if (const Dict* dict = value.AsDict()) {
    for (const auto& [key, unused] : dict->entries) out.push_back(Value::String(key));
    return out;
  }
  if (const std::string* text = value.AsString()) {
    for (size_t i = 0; i < text->size();) {
      const size_t bytes = Utf8LengthOfLead((*text)[i]);
      out.push_back(Value::String(text->substr(i, bytes)));
      i += bytes;
    }
    return out;
  }
  return Failed("a " + std::string(value.TypeName()) + " is not iterable");
}

}  // namespace kvpareto::jinja
