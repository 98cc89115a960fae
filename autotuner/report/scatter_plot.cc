#include "autotuner/report/scatter_plot.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "autotuner/report/html.h"

namespace kvpareto::tune {
namespace {

constexpr double kWidth = 460, kHeight = 320;
constexpr double kLeft = 62, kRight = 28, kTop = 12, kBottom = 46;
constexpr double kCharacter = 7.4, kLine = 11;  // of labels

struct Box {
  double left, top, right, bottom;
  bool Overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

class Drawing {
 public:
  explicit Drawing(const ScatterPlot& plot) : plot_(plot) {}

  std::string Svg() {
    svg_ = absl::StrFormat(
        "<svg class=\"plot\" viewBox=\"0 0 %g %g\" role=\"group\" aria-label=\"%s\">\n"
        "<title>%s</title>\n<desc>%s</desc>\n",
        kWidth, kHeight, Escape(plot_.title), Escape(plot_.title), Escape(plot_.description));
    XAxis();
    YAxis();
    if (plot_.rule) {
      const double y = Y(*plot_.rule);
      Line("rule", kLeft, y, kWidth - kRight, y);
    }
    Stairs();
    // What is emphasized is drawn last, on top.
    for (const bool emphasized : {false, true}) {
      for (const ScatterPoint& point : plot_.points) {
        if (point.emphasized == emphasized) Point(point);
      }
    }
    Labels();
    return svg_ + "</svg>\n";
  }

 private:
  double X(double value) const { return kLeft + plot_.x.Share(value) * (kWidth - kLeft - kRight); }
  double Y(double value) const {
    const double share = plot_.y_down ? plot_.y.Share(value) : 1.0 - plot_.y.Share(value);
    return kTop + share * (kHeight - kTop - kBottom);
  }

  void Line(const std::string& css_class, double x1, double y1, double x2, double y2) {
    svg_ +=
        absl::StrFormat("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n",
                        css_class, x1, y1, x2, y2);
  }
  void Text(const std::string& css_class, double x, double y, const std::string& text,
            const std::string& more = "") {
    svg_ += absl::StrFormat(
        "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\"%s aria-hidden=\"true\">%s</text>\n", css_class, x,
        y, more, Escape(text));
  }

  void XAxis() {
    const double bottom = kHeight - kBottom;
    for (const PlotTick& tick : plot_.x.ticks) {
      Line("grid", X(tick.value), kTop, X(tick.value), bottom);
      Text("tick mid", X(tick.value), bottom + 15, tick.label);
    }
    Line("axis", kLeft, bottom, kWidth - kRight, bottom);
    Text("label mid", (kLeft + kWidth - kRight) / 2, kHeight - 10, plot_.x.label);
  }
  void YAxis() {
    for (const PlotTick& tick : plot_.y.ticks) {
      Line("grid", kLeft, Y(tick.value), kWidth - kRight, Y(tick.value));
      Text("tick end", kLeft - 6, Y(tick.value) + 4, tick.label);
    }
    const double middle = (kTop + kHeight - kBottom) / 2;
    Text("label mid", 14, middle, plot_.y.label,
         absl::StrFormat(" transform=\"rotate(-90 14 %.1f)\"", middle));
  }

  void Stairs() {
    if (plot_.stairs.size() < 2) return;
    std::string path;
    double last_y = 0.0;
    for (const size_t index : plot_.stairs) {
      const double x = X(plot_.points[index].x), y = Y(plot_.points[index].y);
      path +=
          path.empty() ? absl::StrFormat("M%.1f %.1f", x, y) : absl::StrFormat("H%.1fV%.1f", x, y);
      last_y = y;
    }
    path += absl::StrFormat("M%.1f %.1f", X(plot_.points[plot_.stairs.back()].x), last_y);
    svg_ += "<path class=\"stairs\" d=\"" + path + "\"/>\n";
  }

  void Point(const ScatterPoint& point) {
    const double x = X(point.x), y = Y(point.y);
    svg_ += absl::StrFormat(
        "<g class=\"point %s%s\" tabindex=\"0\" role=\"img\" data-row=\"%s\" aria-label=\"%s\">"
        "<title>%s</title>",
        point.css_class, point.emphasized ? " on" : "", point.id, Escape(point.tip),
        Escape(point.tip));
    if (point.low && point.high) {
      svg_ += absl::StrFormat(
          "<line class=\"whisker\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
          "y2=\"%.1f\"/>",
          x, Y(*point.low), x, Y(*point.high));
    }
    svg_ += absl::StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%g\"/></g>\n", x, y,
                            point.emphasized ? 4.5 : 3.2);
  }

  // Beside their points where no point or other label is; otherwise nowhere: the tip has the name.
  void Labels() {
    std::vector<Box> taken;
    for (const ScatterPoint& point : plot_.points) {
      if (!point.emphasized) continue;
      const double x = X(point.x), y = Y(point.y);
      taken.push_back({x - 5, y - 5, x + 5, y + 5});
    }
    for (const ScatterPoint& point : plot_.points) {
      if (point.label.empty()) continue;
      const double x = X(point.x), y = Y(point.y);
      const double width = kCharacter * static_cast<double>(point.label.size());
      const double places[][2] = {
          {x + 7, y - kLine + 2}, {x - 7 - width, y - kLine + 2}, {x + 7, y + 3},
          {x - 7 - width, y + 3}, {x - width / 2, y - kLine - 7}, {x - width / 2, y + 7}};
      for (const auto& [left, top] : places) {
        const Box box{left, top, left + width, top + kLine};
        const bool inside = box.left >= kLeft && box.right <= kWidth && box.top >= 0 &&
                            box.bottom <= kHeight - kBottom;
        if (!inside || std::any_of(taken.begin(), taken.end(),
                                   [&](const Box& other) { return box.Overlaps(other); })) {
          continue;
        }
        Text("name " + point.css_class, left, top + kLine - 2, point.label);
        taken.push_back(box);
        break;
      }
    }
  }

  const ScatterPlot& plot_;
  std::string svg_;
};

}  // namespace

std::string ScatterSvg(const ScatterPlot& plot) { return Drawing(plot).Svg(); }

}  // namespace kvpareto::tune
