#include "clients/cli/args.h"

#include <charconv>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvpareto::cli {
namespace {

const Flag* Find(std::span<const Flag> flags, std::string_view name) {
  for (const Flag& flag : flags) {
    if (flag.name == name) return &flag;
  }
  return nullptr;
}

absl::Status BadValue(std::string_view name, const std::string& value, const char* wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", std::string(name), " ", value, ": expected ", wanted));
}

template <typename T>
absl::Status ReadInteger(const Args& args, std::string_view name, T* out, const char* wanted) {
  if (!args.Has(name)) return absl::OkStatus();
  const std::string text = args.Text(name);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return BadValue(name, text, wanted);
  }
  *out = value;
  return absl::OkStatus();
}

}  // namespace

const std::vector<Flag> kGlobalFlags = {
    {"server", "HOST:PORT", "the server (default: $KVPARETO_SERVER, or 127.0.0.1:50051)"},
    {"model", "NAME", "model to ask (default: the server's own)"},
    {"timeout", "SECONDS", "deadline of a call (default: none)"},
    {"help", "", "what the command takes"},
};

absl::StatusOr<Args> Args::Parse(std::span<const Flag> flags, std::span<const std::string> words) {
  Args args;
  bool only_words = false;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (only_words || word.size() < 2 || word[0] != '-') {
      args.words_.push_back(word);
      continue;
    }
    if (word == "--") {
      only_words = true;
      continue;
    }
    const bool two_dashes = word[1] == '-';
    std::string name = word.substr(two_dashes ? 2 : 1);
    const size_t equals = name.find('=');
    const bool inline_value = equals != std::string::npos;
    std::string value = inline_value ? name.substr(equals + 1) : "";
    if (inline_value) name.resize(equals);
    if (name == "h") name = "help";

    const Flag* flag = Find(flags, name);
    if (flag == nullptr) flag = Find(kGlobalFlags, name);
    if (flag == nullptr || (!two_dashes && word != "-h" && name.size() != 1)) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag ", word, "; see --help"));
    }
    if (flag->value.empty() && inline_value) {
      return absl::InvalidArgumentError(absl::StrCat("--", name, " takes no value"));
    }
    if (!flag->value.empty() && !inline_value) {
      if (++i == words.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("--", name, " needs a value: ", std::string(flag->value)));
      }
      value = words[i];
    }
    args.values_[name].push_back(std::move(value));
  }
  return args;
}

bool Args::Has(std::string_view name) const { return values_.find(name) != values_.end(); }

std::vector<std::string> Args::All(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

std::string Args::Text(std::string_view name, std::string_view fallback) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::string(fallback) : found->second.back();
}

absl::Status Args::Read(std::string_view name, int64_t* out) const {
  return ReadInteger(*this, name, out, "a whole number");
}

absl::Status Args::Read(std::string_view name, uint64_t* out) const {
  return ReadInteger(*this, name, out, "a whole number, 0 or more");
}

absl::Status Args::Read(std::string_view name, int32_t* out) const {
  return ReadInteger(*this, name, out, "a whole number");
}

absl::Status Args::Read(std::string_view name, double* out) const {
  if (!Has(name)) return absl::OkStatus();
  if (!absl::SimpleAtod(Text(name), out)) return BadValue(name, Text(name), "a number");
  return absl::OkStatus();
}

std::string FlagHelp(std::span<const Flag> flags) {
  std::string help;
  for (const Flag& flag : flags) {
    std::string left = absl::StrCat(flag.name.size() == 1 ? "-" : "--", std::string(flag.name));
    if (!flag.value.empty()) absl::StrAppend(&left, " ", std::string(flag.value));
    absl::StrAppendFormat(&help, "  %-24s %s\n", left, std::string(flag.help));
  }
  return help;
}

}  // namespace kvpareto::cli
