#include "engine/text/pre_tokenizer.h"

#include "engine/base/check.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string>
#include <utility>

namespace kvpareto {
namespace {

// The patterns are those of the models' tokenizer.json files with {s} for what \s means there:
// Unicode's White_Space. (PCRE2's own \s also takes U+180E.)
constexpr std::string_view kWhiteSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^{s}\p{L}\p{N}]+|[{s}]+(?![^{s}])|[{s}]+)";

// SmolLM2 first cuts out every digit and then applies GPT-2's pattern to what lies between. In one
// pattern: digits stand alone, and a digit ends a run of spaces just as the end of the text does.
constexpr std::string_view kSmolLm =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^{s}\p{L}\p{N}]+|[{s}]+(?![^{s}\p{N}])|[{s}]+)";

constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|)"
    R"( ?[^{s}\p{L}\p{N}]+[\r\n]*|[{s}]*[\r\n]+|[{s}]+(?![^{s}])|[{s}]+)";

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
    R"( ?[^{s}\p{L}\p{N}]+[\r\n]*|[{s}]*[\r\n]+|[{s}]+(?![^{s}])|[{s}]+)";

std::string_view PatternOf(TokenizerSpec::PreTokenizer kind) {
  switch (kind) {
    case TokenizerSpec::PreTokenizer::kGpt2:
      return kGpt2;
    case TokenizerSpec::PreTokenizer::kSmolLm:
      return kSmolLm;
    case TokenizerSpec::PreTokenizer::kQwen2:
      return kQwen2;
    case TokenizerSpec::PreTokenizer::kLlama3:
      return kLlama3;
  }
  return kGpt2;
}

std::string Expand(std::string_view pattern) {
  constexpr std::string_view kPlaceholder = "{s}";
  std::string out;
  for (size_t at; (at = pattern.find(kPlaceholder)) != pattern.npos;) {
    out += pattern.substr(0, at);
    out += kWhiteSpace;
    pattern.remove_prefix(at + kPlaceholder.size());
  }
  return out += pattern;
}

absl::Status RegexError(absl::StatusCode code, int error) {
  PCRE2_UCHAR message[256] = {};
  pcre2_get_error_message(error, message, sizeof(message));
  return MakeError(code, "REGEX_FAILED",
                   std::string("pre-tokenizer: ") + reinterpret_cast<const char*>(message));
}

template <auto kFree>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

// A pre-token is at most the whole text: backtracking over it visits each character a few times.
constexpr uint32_t kMatchSteps = 1u << 31;

}  // namespace

struct PreTokenizer::Regex {
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> code;
};

PreTokenizer::PreTokenizer(std::unique_ptr<Regex> regex) : regex_(std::move(regex)) {}
PreTokenizer::~PreTokenizer() = default;

absl::StatusOr<std::unique_ptr<PreTokenizer>> PreTokenizer::Create(
    TokenizerSpec::PreTokenizer kind) {
  const std::string pattern = Expand(PatternOf(kind));
  int error = 0;
  PCRE2_SIZE error_offset = 0;
  auto regex = std::make_unique<Regex>();
  regex->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                  PCRE2_UTF | PCRE2_UCP, &error, &error_offset, nullptr));
  if (regex->code == nullptr) return RegexError(absl::StatusCode::kInternal, error);
  // Where no JIT is available the interpreter gives the same matches, only slower.
  (void)pcre2_jit_compile(regex->code.get(), PCRE2_JIT_COMPLETE);
  return std::unique_ptr<PreTokenizer>(new PreTokenizer(std::move(regex)));
}

absl::Status PreTokenizer::Split(std::string_view text,
                                 const std::function<void(std::string_view)>& piece) const {
  const std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> match(
      pcre2_match_data_create(1, nullptr));
  const std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> context(
      pcre2_match_context_create(nullptr));
  KVP_CHECK(match != nullptr && context != nullptr) << "out of memory";
  pcre2_set_match_limit(context.get(), kMatchSteps);
  size_t position = 0;
  while (position < text.size()) {
    // NO_UTF_CHECK: the caller has checked, and a check per match would be quadratic.
    const int rc =
        pcre2_match(regex_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                    position, PCRE2_NO_UTF_CHECK, match.get(), context.get());
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
      return RegexError(absl::StatusCode::kResourceExhausted, rc);
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(match.get());
    const size_t begin = rc < 0 ? text.size() : bounds[0];
    const size_t end = rc < 0 ? text.size() : bounds[1];
    KVP_CHECK(rc < 0 || end > position) << "the pattern matched nothing at " << position;
    if (begin > position) piece(text.substr(position, begin - position));
    if (end > begin) piece(text.substr(begin, end - begin));
    position = end;
  }
  return absl::OkStatus();
}

}  // namespace kvpareto
