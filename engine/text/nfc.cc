#include "engine/text/nfc.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "engine/base/check.h"
#include "engine/text/utf8.h"

namespace kvpareto {
namespace {

absl::Status Failed(utf8proc_ssize_t error) {
  return MakeError(absl::StatusCode::kInternal, "NORMALIZATION_FAILED", utf8proc_errmsg(error));
}

// Everything below U+0300 is its own NFC and composes with nothing before it.
bool IsTriviallyNfc(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

int CombiningClass(utf8proc_int32_t code_point) {
  return utf8proc_get_property(code_point)->combining_class;
}

// Puts each run of combining marks in canonical order. (utf8proc's own decomposition does this by
// insertion, which is quadratic in the length of a run.)
void SortMarks(std::vector<utf8proc_int32_t>& code_points) {
  const auto is_starter = [](utf8proc_int32_t c) { return CombiningClass(c) == 0; };
  for (auto it = code_points.begin(); it != code_points.end();) {
    const auto begin = std::find_if_not(it, code_points.end(), is_starter);
    it = std::find_if(begin, code_points.end(), is_starter);
    std::stable_sort(begin, it, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return CombiningClass(a) < CombiningClass(b);
    });
  }
}

}  // namespace

absl::StatusOr<std::string> NormalizeNfc(std::string_view text) {
  if (IsTriviallyNfc(text)) return std::string(text);
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size() + 1);
  while (!text.empty()) {
    const Utf8Step step = NextUtf8(text);
    KVP_CHECK(step.kind == Utf8Step::Kind::kCharacter) << "text must be valid UTF-8";
    text.remove_prefix(step.bytes);
    std::array<utf8proc_int32_t, 32> parts;  // the longest canonical decomposition has 4
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(step.code_point), parts.data(), parts.size(),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), nullptr);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) return Failed(count);
    code_points.insert(code_points.end(), parts.begin(), parts.begin() + count);
  }
  SortMarks(code_points);
  const utf8proc_ssize_t length = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()),
      static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (length < 0) return Failed(length);
  std::string out;
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    AppendUtf8(static_cast<char32_t>(code_points[i]), out);
  }
  return out;
}

}  // namespace kvpareto
