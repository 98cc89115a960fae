// The tojson filter, with Python's separators.
#include <cstdio>
#include <string>

#include "engine/text/jinja_builtins.h"

namespace kvpareto::jinja {
namespace {

void AppendQuoted(std::string_view text, std::string& out) {
  constexpr std::string_view kPlain = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  out += '"';
  for (const char c : text) {
    if (const size_t index = kPlain.find(c); index != kPlain.npos) {
      out += '\\';
      out += kLetters[index];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", c);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

class JsonWriter {
 public:
  JsonWriter(Budget& budget, int indent) : budget_(budget), indent_(indent) {}

  absl::Status Append(const Value& value) {
    KVP_RETURN_IF_ERROR(budget_.Charge());
    if (out_.size() > Budget::kMaxTextBytes) return budget_.ChargeText(out_.size());
    if (value.is_none()) {
      out_ += "null";
    } else if (value.Is<bool>()) {
      out_ += value.Truthy() ? "true" : "false";
    } else if (const int64_t* number = value.AsInt()) {
      out_ += std::to_string(*number);
    } else if (const std::string* text = value.AsString()) {
      KVP_RETURN_IF_ERROR(budget_.ChargeText(text->size()));
      AppendQuoted(*text, out_);
    } else if (const List* list = value.AsList()) {
      return AppendAll('[', list->items, ']', [this](const Value& v) { return Append(v); });
    } else if (const Dict* dict = value.AsDict()) {
      return AppendAll('{', dict->entries, '}', [this](const auto& entry) {
        AppendQuoted(entry.first, out_);
        out_ += ": ";
        return Append(entry.second);
      });
    } else {
      return value.is_undefined() ? ReadUndefined(value)
                                  : Unsupported("tojson of a " + std::string(value.TypeName()));
    }
    return absl::OkStatus();
  }

  std::string Take() { return std::move(out_); }

 private:
  void NewLine() {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(depth_) * indent_, ' ');
  }

  template <typename Elements, typename AppendOne>
  absl::Status AppendAll(char open, const Elements& elements, char close, AppendOne append) {
    out_ += open;
    ++depth_;
    for (size_t i = 0; i < elements.size(); ++i) {
      if (i > 0) out_ += indent_ < 0 ? ", " : ",";
      NewLine();
      KVP_RETURN_IF_ERROR(append(elements[i]));
    }
    --depth_;
    if (!elements.empty()) NewLine();
    out_ += close;
    return absl::OkStatus();
  }

  Budget& budget_;
  int indent_;
  int depth_ = 0;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> ToJson(Budget& budget, const Value& value, int indent) {
  JsonWriter writer(budget, indent);
  KVP_RETURN_IF_ERROR(writer.Append(value));
  return writer.Take();
}

}  // namespace kvpareto::jinja
