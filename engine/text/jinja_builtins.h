// Filters, tests and methods: functions of a value and a few arguments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/base/status.h"
#include "engine/text/jinja_value.h"

namespace kvpareto::jinja {

// Bounds the work and the memory of one rendering, whatever the template does.
class Budget {
 public:
  static constexpr size_t kMaxTextBytes = size_t{16} << 20;  // of any string, and of the output

  // Counts one step, and more when it handles `bytes` of data.
  // Errors: CHAT_TEMPLATE_FAILED when used up.
  absl::Status Charge(size_t bytes = 0);
  // As Charge, for a step that makes or reads `count` values.
  absl::Status ChargeElements(size_t count) { return Charge(count * kBytesPerElement); }
  // As Charge, for a step that makes a string of `bytes`.
  absl::Status ChargeText(size_t bytes);
  // As Charge, for looking for `pattern_bytes` in `bytes` of text, position by position.
  absl::Status ChargeSearch(size_t bytes, size_t pattern_bytes);

 private:
  static constexpr int64_t kMaxSteps = 5'000'000;
  static constexpr size_t kBytesPerStep = 64;
  static constexpr size_t kBytesPerElement = 16;

  int64_t steps_ = 0;
};

struct Builtin {
  // `arguments` has one value per parameter; a missing one is undefined.
  using Call = absl::StatusOr<Value> (*)(Budget& budget, const Value& self,
                                         std::span<const Value> arguments);
  std::string_view name;
  std::vector<std::string_view> parameters;
  size_t required = 0;  // the first so many parameters must be given
  Call call = nullptr;
};

// nullptr when there is none.
const Builtin* FindFilter(std::string_view name);
const Builtin* FindTest(std::string_view name);
const Builtin* FindStringMethod(std::string_view name);
const Builtin* FindDictMethod(std::string_view name);

// Arguments in the order of `parameters`. Errors: CHAT_TEMPLATE_FAILED.
absl::StatusOr<std::vector<Value>> BindArguments(const Builtin& builtin,
                                                 std::vector<Value> positional,
                                                 std::vector<std::pair<std::string, Value>> named);

// object.name of a value, in the way of Jinja; undefined when there is none.
absl::StatusOr<Value> GetAttribute(Budget& budget, const Value& object, std::string_view name);
// a == b.
absl::StatusOr<bool> AreEqual(Budget& budget, const Value& a, const Value& b);
// `item in container`.
absl::StatusOr<bool> Contains(Budget& budget, const Value& container, const Value& item);
// < and friends: negative, 0 or positive. Errors: values that have no order.
absl::StatusOr<int> Compare(Budget& budget, const Value& a, const Value& b);

// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0: on one line.
absl::StatusOr<std::string> ToJson(Budget& budget, const Value& value, int indent);

}  // namespace kvpareto::jinja
