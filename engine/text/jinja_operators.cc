#include <algorithm>
#include <string>
#include <utility>

#include "engine/text/jinja_evaluator.h"
#include "engine/text/jinja_text.h"

namespace kvpareto::jinja {
namespace {

// Python's floor division and modulo.
int64_t FloorDivide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return (a % b != 0 && (a < 0) != (b < 0)) ? quotient - 1 : quotient;
}

absl::StatusOr<Value> Arithmetic(BinaryOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflow = false;
  switch (op) {
    case BinaryOp::kAdd:
      overflow = __builtin_add_overflow(a, b, &result);
      break;
    case BinaryOp::kSubtract:
      overflow = __builtin_sub_overflow(a, b, &result);
      break;
    case BinaryOp::kMultiply:
      overflow = __builtin_mul_overflow(a, b, &result);
      break;
    default:  // // and %
      if (b == 0) return Failed("division by zero");
      if (b == -1) {  // the one case that overflows
        if (op == BinaryOp::kModulo) return Value::Int(0);
        overflow = __builtin_sub_overflow(int64_t{0}, a, &result);
        break;
      }
      result = FloorDivide(a, b);
      if (op == BinaryOp::kModulo) result = a - result * b;
  }
  if (overflow) return Failed("an integer of more than 64 bits");
  return Value::Int(result);
}

absl::StatusOr<Value> AddSequences(Budget& budget, const Value& left, const Value& right) {
  const std::string* s = left.AsString();
  const std::string* t = right.AsString();
  if (s != nullptr && t != nullptr) {
    KVP_RETURN_IF_ERROR(budget.ChargeText(s->size() + t->size()));
    return Value::String(*s + *t);
  }
  const List* a = left.AsList();
  const List* b = right.AsList();
  if (a != nullptr && b != nullptr) {
    KVP_RETURN_IF_ERROR(budget.ChargeElements(a->items.size() + b->items.size()));
    std::vector<Value> items = a->items;
    items.insert(items.end(), b->items.begin(), b->items.end());
    return MakeList(std::move(items));
  }
  return Failed("cannot add a " + std::string(left.TypeName()) + " and a " +
                std::string(right.TypeName()));
}

absl::StatusOr<Value> Repeat(Budget& budget, const Value& text, const Value& count) {
  int64_t times = 0;
  const std::string* s = text.AsString();
  if (s == nullptr || !count.ToInteger(&times)) return Failed("cannot multiply these");
  times = std::clamp<int64_t>(times, 0, Budget::kMaxTextBytes + 1);
  KVP_RETURN_IF_ERROR(budget.ChargeText(s->size() * static_cast<size_t>(times)));
  std::string out;
  for (int64_t i = 0; i < times; ++i) out += *s;
  return Value::String(std::move(out));
}

// Python's slice.indices(): the positions of a slice of `size` elements.
struct Range {
  int64_t start, stop, step;
};

absl::StatusOr<Range> Indices(int64_t size, const Value& start, const Value& stop,
                              const Value& step) {
  Range range{0, 0, 1};
  const auto read = [](const Value& value, int64_t absent, int64_t* out) -> absl::Status {
    *out = absent;
    if (value.is_undefined() || value.is_none() || value.ToInteger(out)) return absl::OkStatus();
    return Failed("a slice needs integers");
  };
  KVP_RETURN_IF_ERROR(read(step, 1, &range.step));
  if (range.step == 0) return Failed("a slice with step 0");
  const bool forward = range.step > 0;
  const int64_t low = forward ? 0 : -1;
  const int64_t high = forward ? size : size - 1;
  const auto clamp = [&](int64_t i) { return std::clamp(i < 0 ? i + size : i, low, high); };
  const bool has_start = !start.is_undefined() && !start.is_none();
  const bool has_stop = !stop.is_undefined() && !stop.is_none();
  KVP_RETURN_IF_ERROR(read(start, 0, &range.start));
  KVP_RETURN_IF_ERROR(read(stop, 0, &range.stop));
  range.start = has_start ? clamp(range.start) : (forward ? low : high);
  range.stop = has_stop ? clamp(range.stop) : (forward ? high : low);
  range.step = std::clamp<int64_t>(range.step, -size - 1, size + 1);  // no overflow below
  return range;
}

}  // namespace

absl::StatusOr<Value> ApplyOperator(Budget& budget, BinaryOp op, const Value& left,
                                    const Value& right) {
  switch (op) {
    case BinaryOp::kEqual:
    case BinaryOp::kNotEqual: {
      KVP_ASSIGN_OR_RETURN(const bool equal, AreEqual(budget, left, right));
      return Value::Bool(equal == (op == BinaryOp::kEqual));
    }
    case BinaryOp::kIn:
    case BinaryOp::kNotIn: {
      KVP_ASSIGN_OR_RETURN(const bool contains, Contains(budget, right, left));
      return Value::Bool(contains == (op == BinaryOp::kIn));
    }
    case BinaryOp::kConcat: {
      KVP_ASSIGN_OR_RETURN(std::string text, ToText(left));
      KVP_ASSIGN_OR_RETURN(const std::string tail, ToText(right));
      KVP_RETURN_IF_ERROR(budget.ChargeText(text.size() + tail.size()));
      return Value::String(std::move(text) + tail);
    }
    case BinaryOp::kLess:
    case BinaryOp::kLessEqual:
    case BinaryOp::kGreater:
    case BinaryOp::kGreaterEqual: {
      KVP_ASSIGN_OR_RETURN(const int order, Compare(budget, left, right));
      if (op == BinaryOp::kLess) return Value::Bool(order < 0);
      if (op == BinaryOp::kLessEqual) return Value::Bool(order <= 0);
      if (op == BinaryOp::kGreater) return Value::Bool(order > 0);
      return Value::Bool(order >= 0);
    }
    default:
      break;
  }
  if (left.is_undefined()) return ReadUndefined(left);
  if (right.is_undefined()) return ReadUndefined(right);
  int64_t a = 0, b = 0;
  if (left.ToInteger(&a) && right.ToInteger(&b)) return Arithmetic(op, a, b);
  if (op == BinaryOp::kAdd) return AddSequences(budget, left, right);
  if (op == BinaryOp::kMultiply) {
    return left.AsString() != nullptr ? Repeat(budget, left, right) : Repeat(budget, right, left);
  }
  if (op == BinaryOp::kModulo && left.AsString() != nullptr) {
    return Unsupported("% formatting of a string");
  }
  return Failed("an operator that a " + std::string(left.TypeName()) + " and a " +
                std::string(right.TypeName()) + " do not have");
}

absl::StatusOr<Value> ApplySlice(Budget& budget, const Value& object, const Value& start,
                                 const Value& stop, const Value& step) {
  if (object.is_undefined()) return ReadUndefined(object);
  const bool is_text = object.AsString() != nullptr;
  if (!is_text && object.AsList() == nullptr) {
    return Failed("a " + std::string(object.TypeName()) + " has no slices");
  }
  KVP_RETURN_IF_ERROR(
      budget.ChargeElements(is_text ? object.AsString()->size() : object.AsList()->items.size()));
  KVP_ASSIGN_OR_RETURN(const std::vector<Value> elements, Elements(object));
  KVP_ASSIGN_OR_RETURN(const Range range,
                       Indices(static_cast<int64_t>(elements.size()), start, stop, step));
  std::vector<Value> out;
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop; i += range.step) {
    out.push_back(elements[i]);
  }
  if (!is_text) return MakeList(std::move(out));
  std::string text;
  for (const Value& character : out) text += *character.AsString();
  return Value::String(std::move(text));
}

absl::StatusOr<Value> ApplySubscript(Budget& budget, const Value& object, const Value& index) {
  if (const std::string* key = index.AsString()) return GetAttribute(budget, object, *key);
  if (object.is_undefined()) return ReadUndefined(object);
  int64_t i = 0;
  const bool is_text = object.AsString() != nullptr;
  if (!index.ToInteger(&i) || (!is_text && object.AsList() == nullptr)) {
    return Value::MakeUndefined("an element of a " + std::string(object.TypeName()));
  }
  const auto element = [i](const std::vector<Value>& elements) {
    const auto size = static_cast<int64_t>(elements.size());
    if (i < -size || i >= size) return Value::MakeUndefined("an element beyond the end");
    return elements[i < 0 ? i + size : i];
  };
  if (!is_text) return element(object.AsList()->items);
  KVP_RETURN_IF_ERROR(budget.ChargeElements(object.AsString()->size()));
  KVP_ASSIGN_OR_RETURN(const std::vector<Value> characters, Elements(object));
  return element(characters);
}

}  // namespace kvpareto::jinja
