// Memory against accuracy, task scores and speed, context by context.
#include <algorithm>
#include <cmath>
#include <set>

#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

using Rows = std::vector<const ReportRow*>;

constexpr double kLowestChange = -0.15;  // of task scores that plots tell apart

std::string PercentTick(double share) { return ShortText(100.0 * share, 2) + "%"; }
std::string SignedPercentTick(double share) {
  const bool whole = std::abs(100.0 * share - std::round(100.0 * share)) < 1e-6;
  return SignedPercentText(share, whole ? 0 : 1);
}

// The points, in the order of x, that improve on all before them.
std::vector<size_t> Stairs(const std::vector<ScatterPoint>& points, bool small_is_good) {
  std::vector<size_t> order;
  for (size_t i = 0; i < points.size(); ++i) {
    if (points[i].css_class == "ours" && points[i].emphasized) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return points[a].x < points[b].x; });
  std::vector<size_t> stairs;
  for (const size_t i : order) {
    const double sign = small_is_good ? -1.0 : 1.0;
    if (stairs.empty() || sign * points[i].y > sign * points[stairs.back()].y) stairs.push_back(i);
  }
  return stairs;
}

std::string Figure(const ScatterPlot& plot) {
  return "<figure>\n<figcaption>" + Escape(plot.title) + "</figcaption>\n" + ScatterSvg(plot) +
         "</figure>\n";
}

std::vector<double> Values(const std::vector<ScatterPoint>& points) {
  std::vector<double> values;
  for (const ScatterPoint& point : points) {
    values.push_back(point.y);
    if (point.low) values.push_back(*point.low);
    if (point.high) values.push_back(*point.high);
  }
  return values;
}

std::string AccuracyPlot(const MarkedModel& marked, const Rows& rows, int64_t context) {
  ScatterPlot plot{
      .title = "Disagreement with bf16, contexts up to " + CountText(context) + " tokens",
      .description =
          "Share of positions whose likeliest token differs from that of "
          "the bf16 cache, against memory. Higher is better.",
      .x = marked.MemoryAxis(),
      .y_down = true};
  for (const ReportRow* row : rows) {
    const ReportAccuracy* bucket = row->AccuracyAt(context);
    if (bucket == nullptr) continue;
    ScatterPoint point = marked.PointOf(*row);
    point.y = 1.0 - bucket->accuracy;
    if (!row->is_reference()) {
      point.low = point.y;
      point.high = 1.0 - bucket->low;
    }
    plot.points.push_back(std::move(point));
  }
  if (plot.points.empty()) return "";
  plot.y = LogAxis(Values(plot.points), "disagreement (log)", PercentTick);
  plot.stairs = Stairs(plot.points, /*small_is_good=*/true);
  return Figure(plot);
}

// A plot of relative changes; `change_of` gives none for rows that have none.
template <typename ChangeOf>
std::string ChangePlot(const MarkedModel& marked, const Rows& rows, const std::string& title,
                       const ChangeOf& change_of) {
  ScatterPlot plot{.title = title,
                   .description =
                       "Relative change of the mean task score against the bf16 cache, "
                       "against memory. Higher is better.",
                   .x = marked.MemoryAxis(),
                   .rule = 0.0};
  for (const ReportRow* row : rows) {
    const std::optional<Interval> change = change_of(*row);
    if (!change) continue;
    ScatterPoint point = marked.PointOf(*row);
    point.y = change->value;
    if (change->low < change->high) {
      point.low = change->low;
      point.high = change->high;
    }
    plot.points.push_back(std::move(point));
  }
  if (plot.points.empty()) return "";
  // What is useless anyway must not squeeze the rest together: it stands at the lower edge.
  std::vector<double> values = {0.0};
  for (const double value : Values(plot.points)) values.push_back(std::max(value, kLowestChange));
  plot.y = LinearAxis(values, "change of task score", SignedPercentTick);
  plot.stairs = Stairs(plot.points, /*small_is_good=*/false);
  return Figure(plot);
}

// Of the tasks at one context: their mean against that of bf16. With one task, its interval; the
// results have none for several.
std::optional<Interval> ChangeAt(const ReportRow& row, int64_t context) {
  double score = 0.0, reference = 0.0;
  const ReportScore* only = nullptr;
  int tasks = 0;
  for (const ReportScore& task : row.tasks) {
    if (task.context != context) continue;
    score += task.score;
    reference += task.reference;
    only = &task;
    ++tasks;
  }
  if (tasks == 0 || !(reference > 0.0)) return std::nullopt;
  if (tasks == 1) return only->relative;
  const double change = score / reference - 1.0;
  return Interval{.value = change, .low = change, .high = change};
}

std::string TaskPlots(const MarkedModel& marked, const Rows& rows) {
  std::set<int64_t> contexts;
  for (const ReportRow* row : rows) {
    for (const ReportScore& task : row->tasks) contexts.insert(task.context);
  }
  std::string html = ChangePlot(marked, rows, "Task score, all tasks and contexts (95% intervals)",
                                [](const ReportRow& row) -> std::optional<Interval> {
                                  return row.score ? row.score->relative : std::nullopt;
                                });
  if (contexts.size() < 2) return html;
  for (const int64_t context : contexts) {
    html += ChangePlot(marked, rows, "Task score, contexts up to " + CountText(context) + " tokens",
                       [&](const ReportRow& row) { return ChangeAt(row, context); });
  }
  return html;
}

std::string SpeedPlot(const MarkedModel& marked, const Rows& rows, const std::string& title,
                      int64_t context, double ReportSpeed::*speed) {
  ScatterPlot plot{.title = title + " at a depth of " + CountText(context) + " tokens",
                   .description =
                       "Tokens per second of one sequence, against memory. Higher is "
                       "better.",
                   .x = marked.MemoryAxis()};
  for (const ReportRow* row : rows) {
    if (!row->speed || row->speed->context != context) continue;
    ScatterPoint point = marked.PointOf(*row);
    point.y = *row->speed.*speed;
    plot.points.push_back(std::move(point));
  }
  if (plot.points.empty()) return "";
  plot.y = LinearAxis(Values(plot.points), "tokens per second",
                      [](double value) { return ShortText(value, 4); });
  plot.stairs = Stairs(plot.points, /*small_is_good=*/false);
  return Figure(plot);
}

std::string SpeedPlots(const MarkedModel& marked, const Rows& rows) {
  std::set<int64_t> contexts;
  for (const ReportRow* row : rows) {
    if (row->speed) contexts.insert(row->speed->context);
  }
  std::string html;
  for (const int64_t context : contexts) {
    html += SpeedPlot(marked, rows, "Decode speed", context, &ReportSpeed::decode);
    html += SpeedPlot(marked, rows, "Prefill speed", context, &ReportSpeed::prefill);
  }
  return html;
}

constexpr char kLegend[] =
    "<p class=\"legend\"><span class=\"key ours\"></span>this search; numbered and filled: on the "
    "frontier, see the table below <span class=\"key paper\"></span>formats of KV Pareto (arXiv "
    "2512.01953), A, B, \u2026 <span class=\"key reference\"></span>bf16<br>Losses of task score "
    "beyond 15% stand at the lower edge.</p>\n";

}  // namespace

std::string FrontierSection(const MarkedModel& marked) {
  std::string html;
  for (const ReportWeights& weights : marked.model().weights) {
    Rows rows;
    for (const ReportRow* row : marked.rows()) {
      if (row->weights == weights.kind) rows.push_back(row);
    }
    std::string plots;
    for (const int64_t context : marked.report().contexts) {
      plots += AccuracyPlot(marked, rows, context);
    }
    plots += TaskPlots(marked, rows) + SpeedPlots(marked, rows);
    if (plots.empty()) continue;
    if (marked.model().weights.size() > 1) {
      html += "<h4>Weights " + Escape(WeightsText(weights.kind)) + "</h4>\n";
    }
    html += "<div class=\"plots\">\n" + plots + "</div>\n";
  }
  if (html.empty()) return "<h3>Frontiers</h3>\n<p>Nothing has been measured yet.</p>\n";
  return "<h3>Frontiers</h3>\n" + std::string(kLegend) + html;
}

}  // namespace kvpareto::tune
