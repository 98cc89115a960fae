#include "autotuner/report/plot_axis.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kvpareto::tune {
namespace {

constexpr double kRoom = 0.06;  // of the axis, beyond the outermost values
constexpr int kMaxTicks = 7;
constexpr double kLargest = 1e30;    // of values: products of them stay finite
constexpr double kSmallest = 1e-12;  // on logarithmic axes

// Ends of the values that `usable` takes; low > high when there are none.
template <typename Usable>
std::pair<double, double> Range(const std::vector<double>& values, Usable&& usable) {
  double low = kLargest, high = -kLargest;
  for (const double value : values) {
    if (!std::isfinite(value) || std::abs(value) > kLargest || !usable(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  return {low, high};
}

// The smallest of 1, 2, 5 times a power of ten that is at least `width`.
double NiceStep(double width) {
  const double power = std::pow(10.0, std::floor(std::log10(width)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= width * (1.0 - 1e-9)) return factor * power;
  }
  return 10.0 * power;
}

std::vector<double> LogTicks(double low, double high) {
  const std::array<std::vector<double>, 3> kMantissas = {
      std::vector<double>{1.0, 2.0, 5.0}, {1.0, 3.0}, {1.0}};
  std::vector<double> ticks;
  for (const std::vector<double>& mantissas : kMantissas) {
    ticks.clear();
    for (int power = static_cast<int>(std::floor(std::log10(low)));
         power <= static_cast<int>(std::ceil(std::log10(high))); ++power) {
      for (const double mantissa : mantissas) {
        const double value = mantissa * std::pow(10.0, power);
        if (value >= low && value <= high) ticks.push_back(value);
      }
    }
    if (ticks.size() <= kMaxTicks) break;
  }
  return ticks;
}

}  // namespace

double PlotAxis::Share(double value) const {
  const double share = logarithmic ? (std::log(std::max(value, low)) - std::log(low)) /
                                         (std::log(high) - std::log(low))
                                   : (value - low) / (high - low);
  return std::clamp(share, 0.0, 1.0);
}

PlotAxis LinearAxis(const std::vector<double>& values, const std::string& label,
                    const TickText& text) {
  auto [low, high] = Range(values, [](double) { return true; });
  if (low > high) low = 0.0, high = 1.0;
  const double width = std::max(high - low, std::max(std::abs(high), 1e-9) * 1e-3);
  PlotAxis axis{.low = low - kRoom * width, .high = high + kRoom * width, .label = label};
  const double step = NiceStep((axis.high - axis.low) / kMaxTicks);
  for (double tick = std::ceil(axis.low / step); tick * step <= axis.high; ++tick) {
    axis.ticks.push_back({tick * step, text(tick * step)});
  }
  return axis;
}

PlotAxis LogAxis(const std::vector<double>& values, const std::string& label,
                 const TickText& text) {
  auto [low, high] = Range(values, [](double value) { return value >= kSmallest; });
  if (low > high) low = 0.1, high = 1.0;
  const double room = std::pow(std::max(high / low, 2.0), kRoom);
  PlotAxis axis{.low = low / room, .high = high * room, .logarithmic = true, .label = label};
  for (const double tick : LogTicks(axis.low, axis.high)) axis.ticks.push_back({tick, text(tick)});
  return axis;
}

}  // namespace kvpareto::tune
