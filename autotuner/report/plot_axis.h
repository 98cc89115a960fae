// Axes of plots: from values to places, and where ticks go.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace kvpareto::tune {

struct PlotTick {
  double value = 0.0;
  std::string label;  // plain text
};

// Maps values to pixels. Values outside are moved to the nearer end.
struct PlotAxis {
  double low = 0.0, high = 1.0;  // low < high; both positive when logarithmic
  bool logarithmic = false;
  std::string label;  // plain text
  std::vector<PlotTick> ticks;

  // 0 at `low`, 1 at `high`.
  double Share(double value) const;
};

using TickText = std::function<std::string(double)>;

// An axis that holds all values with some room, with ticks at 1, 2 and 5 times powers of ten.
// Values that are not finite, or not positive on a logarithmic axis, are left out; without any the
// axis is 0..1, or 0.1..1.
PlotAxis LinearAxis(const std::vector<double>& values, const std::string& label,
                    const TickText& text);
PlotAxis LogAxis(const std::vector<double>& values, const std::string& label, const TickText& text);

}  // namespace kvpareto::tune
