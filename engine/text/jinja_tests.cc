// Tests: what may follow `is`.
#include <algorithm>
#include <array>
#include <string>

#include "engine/text/jinja_builtins.h"
#include "engine/text/jinja_text.h"

namespace kvpareto::jinja {
namespace {

using Args = std::span<const Value>;

template <bool (*kPredicate)(const Value&)>
absl::StatusOr<Value> Predicate(Budget&, const Value& self, Args) {
  return Value::Bool(kPredicate(self));
}

bool IsDefined(const Value& v) { return !v.is_undefined(); }
bool IsUndefined(const Value& v) { return v.is_undefined(); }
bool IsNone(const Value& v) { return v.is_none(); }
bool IsString(const Value& v) { return v.AsString() != nullptr; }
bool IsNumber(const Value& v) { return v.AsInt() != nullptr || v.Is<bool>(); }
bool IsInteger(const Value& v) { return v.AsInt() != nullptr; }
bool IsBoolean(const Value& v) { return v.Is<bool>(); }
bool IsTrue(const Value& v) { return v.Is<bool>() && v.Truthy(); }
bool IsFalse(const Value& v) { return v.Is<bool>() && !v.Truthy(); }
bool IsMapping(const Value& v) { return v.AsDict() != nullptr; }
// Jinja counts an undefined value as an empty sequence.
bool IsSequence(const Value& v) {
  return v.AsList() != nullptr || v.AsDict() != nullptr || IsString(v) || v.is_undefined();
}
bool IsCallable(const Value& v) { return v.Is<Function>() || v.Is<const Macro*>(); }

template <bool kNegate>
absl::StatusOr<Value> EqualTest(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(const bool equal, AreEqual(budget, self, args[0]));
  return Value::Bool(equal != kNegate);
}

template <bool (*kHolds)(int)>
absl::StatusOr<Value> OrderTest(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(const int order, Compare(budget, self, args[0]));
  return Value::Bool(kHolds(order));
}
bool IsLess(int order) { return order < 0; }
bool IsLessEqual(int order) { return order <= 0; }
bool IsGreater(int order) { return order > 0; }
bool IsGreaterEqual(int order) { return order >= 0; }

absl::StatusOr<Value> InTest(Budget& budget, const Value& self, Args args) {
  KVP_ASSIGN_OR_RETURN(const bool contains, Contains(budget, args[0], self));
  return Value::Bool(contains);
}

absl::StatusOr<bool> Divides(int64_t divisor, const Value& self) {
  int64_t number = 0;
  if (self.is_undefined()) return ReadUndefined(self);
  if (!self.ToInteger(&number)) return Failed("a number is needed");
  if (divisor == 0) return Failed("division by zero");
  return divisor == -1 || number % divisor == 0;
}

template <bool kOdd>
absl::StatusOr<Value> ParityTest(Budget&, const Value& self, Args) {
  KVP_ASSIGN_OR_RETURN(const bool even, Divides(2, self));
  return Value::Bool(even != kOdd);
}

absl::StatusOr<Value> DivisibleByTest(Budget&, const Value& self, Args args) {
  int64_t divisor = 0;
  if (!args[0].ToInteger(&divisor)) return Failed("divisibleby: a number is needed");
  KVP_ASSIGN_OR_RETURN(const bool divides, Divides(divisor, self));
  return Value::Bool(divides);
}

}  // namespace

const Builtin* FindTest(std::string_view name) {
  static const std::array<Builtin, 31> kTests = {{
      {"defined", {}, 0, Predicate<IsDefined>},
      {"undefined", {}, 0, Predicate<IsUndefined>},
      {"none", {}, 0, Predicate<IsNone>},
      {"string", {}, 0, Predicate<IsString>},
      {"number", {}, 0, Predicate<IsNumber>},
      {"integer", {}, 0, Predicate<IsInteger>},
      {"boolean", {}, 0, Predicate<IsBoolean>},
      {"true", {}, 0, Predicate<IsTrue>},
      {"false", {}, 0, Predicate<IsFalse>},
      {"mapping", {}, 0, Predicate<IsMapping>},
      {"sequence", {}, 0, Predicate<IsSequence>},
      {"iterable", {}, 0, Predicate<IsSequence>},
      {"callable", {}, 0, Predicate<IsCallable>},
      {"odd", {}, 0, ParityTest<true>},
      {"even", {}, 0, ParityTest<false>},
      {"divisibleby", {"num"}, 1, DivisibleByTest},
      {"in", {"seq"}, 1, InTest},
      {"eq", {"other"}, 1, EqualTest<false>},
      {"equalto", {"other"}, 1, EqualTest<false>},
      {"==", {"other"}, 1, EqualTest<false>},
      {"ne", {"other"}, 1, EqualTest<true>},
      {"!=", {"other"}, 1, EqualTest<true>},
      {"lt", {"other"}, 1, OrderTest<IsLess>},
      {"lessthan", {"other"}, 1, OrderTest<IsLess>},
      {"<", {"other"}, 1, OrderTest<IsLess>},
      {"le", {"other"}, 1, OrderTest<IsLessEqual>},
      {"<=", {"other"}, 1, OrderTest<IsLessEqual>},
      {"gt", {"other"}, 1, OrderTest<IsGreater>},
      {"greaterthan", {"other"}, 1, OrderTest<IsGreater>},
      {">", {"other"}, 1, OrderTest<IsGreater>},
      {"ge", {"other"}, 1, OrderTest<IsGreaterEqual>},
  }};
  const auto it = std::find_if(kTests.begin(), kTests.end(),
                               [&](const Builtin& test) { return test.name == name; });
  return it == kTests.end() ? nullptr : &*it;
}

}  // namespace kvpareto::jinja
