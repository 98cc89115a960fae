// A scatter plot as inline SVG, which a keyboard and a screen reader can read as well.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "autotuner/report/plot_axis.h"

namespace kvpareto::tune {

struct ScatterPoint {
  double x = 0.0, y = 0.0;
  std::optional<double> low, high;  // ends of a whisker
  std::string css_class;            // what it is: "ours", "paper", "reference"
  bool emphasized = false;          // filled, and labelled where there is room
  std::string label;                // a few characters beside it; plain text
  std::string tip;                  // what it says when pointed at; plain text, lines
  std::string id;                   // of its row in tables
};

struct ScatterPlot {
  std::string title, description;  // plain text
  PlotAxis x, y;
  bool y_down = false;  // small values on top
  std::vector<ScatterPoint> points;
  std::vector<size_t> stairs;  // points of the frontier, in the order of x
  std::optional<double> rule;  // a line across at this y
};

std::string ScatterSvg(const ScatterPlot& plot);

}  // namespace kvpareto::tune
