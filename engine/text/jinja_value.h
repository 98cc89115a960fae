// Values of the template language: the part of Python's data model that templates use. No floats.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "engine/base/status.h"

namespace kvpareto::jinja {

class Value;
struct Macro;  // jinja_ast.h

// What a name or key gives that is not there; reading on is an error that says `what`.
struct Undefined {
  std::string what;
};
struct None {};

struct List {
  std::vector<Value> items;
  int depth = 1;      // of nesting
  size_t weight = 0;  // of its values: see Weight
};

// In insertion order, as Python's.
struct Dict {
  std::vector<std::pair<std::string, Value>> entries;
  int depth = 1;
  size_t weight = 0;

  const Value* Find(std::string_view key) const;
};

// The only mutable value; created by namespace().
struct Namespace {
  std::vector<std::pair<std::string, Value>> entries;

  const Value* Find(std::string_view key) const;
  void Set(std::string_view key, Value value);
};

// A function that templates call by name.
enum class Function : uint8_t { kNamespace, kRange, kRaiseException, kDict };

// Cheap to copy: strings and containers are shared and never change.
class Value {
 public:
  using Storage = std::variant<Undefined, None, bool, int64_t, std::shared_ptr<const std::string>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>,
                               std::shared_ptr<Namespace>, Function, const Macro*>;

  Value() = default;  // undefined
  explicit Value(Storage storage) : storage_(std::move(storage)) {}
  static Value MakeUndefined(std::string what) { return Value(Undefined{std::move(what)}); }
  static Value MakeNone() { return Value(None{}); }
  static Value Bool(bool value) {
    Value out;
    out.storage_.emplace<bool>(value);
    return out;
  }
  static Value Int(int64_t value) {
    Value out;
    out.storage_.emplace<int64_t>(value);
    return out;
  }
  static Value String(std::string value) {
    return Value(std::make_shared<const std::string>(std::move(value)));
  }

  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(storage_);
  }
  bool is_undefined() const { return Is<Undefined>(); }
  bool is_none() const { return Is<None>(); }

  // nullptr when it is something else.
  const std::string* AsString() const { return Shared<const std::string>(); }
  const List* AsList() const { return Shared<const List>(); }
  const Dict* AsDict() const { return Shared<const Dict>(); }
  Namespace* AsNamespace() const { return Shared<Namespace>(); }
  // An integer, or a boolean as Python counts it.
  const int64_t* AsInt() const { return std::get_if<int64_t>(&storage_); }
  bool ToInteger(int64_t* out) const;

  const Storage& storage() const { return storage_; }

  // As Python's bool().
  bool Truthy() const;
  // As Python's type(x).__name__, for messages.
  std::string_view TypeName() const;

 private:
  template <typename T>
  T* Shared() const {
    const auto* pointer = std::get_if<std::shared_ptr<T>>(&storage_);
    return pointer == nullptr ? nullptr : pointer->get();
  }

  Storage storage_;
};

// INVALID_ARGUMENT (CHAT_TEMPLATE_FAILED).
absl::Status Failed(const std::string& message);
// UNIMPLEMENTED (CHAT_TEMPLATE_UNSUPPORTED) with metadata "construct".
absl::Status Unsupported(const std::string& construct);
// What `undefined` stands for was read.
absl::Status ReadUndefined(const Value& undefined);

// Errors: CHAT_TEMPLATE_FAILED when nested too deeply.
absl::StatusOr<Value> MakeList(std::vector<Value> items);
absl::StatusOr<Value> MakeDict(std::vector<std::pair<std::string, Value>> entries);

// About how many bytes one visit to all of a value reads. What a value holds twice counts twice:
// lists of lists that are shared are small in memory and huge to walk. At most kMaxWeight.
size_t Weight(const Value& value);
inline constexpr size_t kMaxWeight = size_t{1} << 40;
// As Python's ==. Reads no more than the lighter one's weight.
bool Equal(const Value& a, const Value& b);
// As Python's str(). Errors: undefined, and containers (whose str() no template should need).
absl::StatusOr<std::string> ToText(const Value& value);
// The elements a for loop visits; strings give characters, dicts keys.
absl::StatusOr<std::vector<Value>> Elements(const Value& value);

}  // namespace kvpareto::jinja
