#include "clients/cli/units.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kvpareto::cli {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 11> kUnits = {{
    {"", 1.0},
    {"B", 1.0},
    {"KiB", 1024.0},
    {"MiB", 1048576.0},
    {"GiB", 1073741824.0},
    {"TiB", 1099511627776.0},
    {"kB", 1e3},
    {"KB", 1e3},
    {"MB", 1e6},
    {"GB", 1e9},
    {"TB", 1e12},
}};

}  // namespace

absl::StatusOr<uint64_t> ParseBytes(std::string_view text) {
  const std::string whole(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  const size_t digits = std::min(whole.find_first_not_of("0123456789."), whole.size());
  const std::string number = whole.substr(0, digits);
  const std::string unit(absl::StripLeadingAsciiWhitespace(whole.substr(digits)));
  double value = 0.0;
  if (number.empty() || !absl::SimpleAtod(number, &value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", whole, "' is no byte count; write for example 64MiB"));
  }
  for (const auto& [name, factor] : kUnits) {
    if (name != unit) continue;
    const double bytes = std::floor(value * factor);
    // 2^63: beyond any machine, and exactly representable.
    if (!(bytes < 9223372036854775808.0)) break;
    return static_cast<uint64_t>(bytes);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", whole, "' is no byte count: units are B, KiB, MiB, GiB, TiB, kB, MB, GB and TB"));
}

std::string FormatBytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kNames = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  // 999.5 would round to four digits.
  while (value >= 999.5 && unit + 1 < kNames.size()) {
    value /= 1024.0;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(bytes, " B");
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f %s", decimals, value, kNames[unit]);
}

std::string FormatCount(uint64_t count) {
  std::string digits = absl::StrCat(count);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, 1, ',');
  return digits;
}

std::string Bar(double share, int width, bool unicode) {
  const double clamped = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.0;
  if (!unicode) {
    const int full = static_cast<int>(std::lround(clamped * width));
    return std::string(full, '#') + std::string(width - full, '.');
  }
  constexpr std::array<const char*, 8> kEighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(std::lround(clamped * width * 8));
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  bar += kEighths[eighths % 8];
  const int cells = eighths / 8 + (eighths % 8 != 0 ? 1 : 0);
  return bar + std::string(width - cells, ' ');
}

}  // namespace kvpareto::cli
