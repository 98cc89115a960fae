#include "engine/base/units.h"

#include <array>
#include <charconv>
#include <cmath>
#include <span>
#include <string>

namespace kvpareto {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr double kKibi = 1024.0;
constexpr std::array kByteUnits = {
    Unit{"", 1},
    Unit{"B", 1},
    Unit{"KiB", kKibi},
    Unit{"MiB", kKibi* kKibi},
    Unit{"GiB", kKibi* kKibi* kKibi},
    Unit{"TiB", kKibi* kKibi* kKibi* kKibi},
    Unit{"kB", 1e3},
    Unit{"MB", 1e6},
    Unit{"GB", 1e9},
    Unit{"TB", 1e12},
};
constexpr std::array kDurationUnits = {Unit{"ms", 1}, Unit{"s", 1e3}, Unit{"m", 60e3},
                                       Unit{"h", 3600e3}};

constexpr double kMaxValue = 0x1p62;

absl::StatusOr<double> ParseQuantity(std::string_view text, std::span<const Unit> units,
                                     std::string_view what) {
  double number = 0.0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  std::string_view unit_name(rest, end - rest);
  if (!unit_name.empty() && unit_name.front() == ' ') unit_name.remove_prefix(1);
  if (error == std::errc() && std::isfinite(number) && number >= 0) {
    for (const Unit& unit : units) {
      if (unit.name != unit_name) continue;
      if (number * unit.factor >= kMaxValue) break;
      return number * unit.factor;
    }
  }
  std::string allowed;
  for (const Unit& unit : units) {
    if (unit.name.empty()) continue;
    if (!allowed.empty()) allowed += ", ";
    allowed += unit.name;
  }
  std::string message;
  for (const std::string_view part :
       {std::string_view("\""), text, std::string_view("\" is no "), what,
        std::string_view(": expected a number and one of "), std::string_view(allowed)}) {
    message += part;
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "CONFIG_INVALID", message);
}

}  // namespace

absl::StatusOr<uint64_t> ParseByteSize(std::string_view text) {
  KVP_ASSIGN_OR_RETURN(const double bytes, ParseQuantity(text, kByteUnits, "byte size"));
  return static_cast<uint64_t>(bytes);
}

absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  KVP_ASSIGN_OR_RETURN(const double ms, ParseQuantity(text, kDurationUnits, "duration"));
  return std::chrono::milliseconds(static_cast<int64_t>(ms));
}

}  // namespace kvpareto
