// What total memory consists of, for the baselines, each technique alone, and all together.
#include <algorithm>

#include "absl/strings/str_format.h"
#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

constexpr double kWidth = 760, kNames = 250, kValues = 150, kBar = 18, kGap = 9;
constexpr double kAllowed = 0.01;  // loss of the rows shown

struct Bar {
  std::string name;
  double weights = 0.0, kv = 0.0, other = 0.0;
  std::string css_class;
  double total() const { return weights + kv + other; }
};

const ReportRow* Bf16RowOf(const ReportWeights& weights) {
  for (const ReportRow& row : weights.rows) {
    if (row.is_reference()) return &row;
  }
  return nullptr;
}

// Quantized, with the least memory at an allowed loss.
const ReportRow* BestRowOf(const MarkedModel& marked, const ReportWeights& weights, int64_t tokens,
                           bool paper) {
  const ReportRow* best = nullptr;
  for (const ReportRow& row : weights.rows) {
    if (row.is_reference() || row.is_paper() != paper || !row.failure.empty()) continue;
    const std::optional<Loss> loss = LossOf(marked.report(), row);
    const ReportMemory* memory = row.MemoryAt(tokens);
    if (!loss || memory == nullptr || loss->change.value < -kAllowed) continue;
    if (best == nullptr || memory->total < best->MemoryAt(tokens)->total) best = &row;
  }
  return best;
}

void AddRow(const ReportRow* row, int64_t tokens, const std::string& name,
            const std::string& css_class, std::vector<Bar>& bars) {
  const ReportMemory* memory = row == nullptr ? nullptr : row->MemoryAt(tokens);
  if (memory == nullptr) return;
  bars.push_back({.name = name,
                  .weights = memory->weights,
                  .kv = memory->kv,
                  .other = memory->workspace,
                  .css_class = css_class});
}

std::vector<Bar> BarsAt(const MarkedModel& marked, int64_t tokens) {
  std::vector<Bar> bars;
  for (const ReportBaseline& baseline : marked.model().baselines) {
    if (baseline.tokens != tokens) continue;
    bars.push_back({"bf16 weights, bf16 cache, eager", baseline.weights, baseline.kv,
                    baseline.scores, "reference"});
    bars.push_back(
        {"bf16 weights, bf16 cache, flash", baseline.weights, baseline.kv, 0.0, "reference"});
  }
  for (const ReportWeights& weights : marked.model().weights) {
    const std::string name = WeightsText(weights.kind);
    AddRow(Bf16RowOf(weights), tokens, name + ", bf16 cache", "reference", bars);
    AddRow(BestRowOf(marked, weights, tokens, true), tokens, name + ", paper\u2019s best", "paper",
           bars);
    AddRow(BestRowOf(marked, weights, tokens, false), tokens, name + ", this search\u2019s best",
           "ours", bars);
  }
  return bars;
}

std::string BarSvg(const Bar& bar, double top, double largest) {
  std::string svg = absl::StrFormat(
      "<g class=\"bar\" tabindex=\"0\" role=\"img\" aria-label=\"%1$s\"><title>%1$s</title>\n"
      "<text class=\"tick end\" x=\"%2$g\" y=\"%3$g\">%4$s</text>\n",
      Escape(bar.name + "\nweights " + ByteText(bar.weights) + "\nKV cache " + ByteText(bar.kv) +
             "\nscores or workspace " + ByteText(bar.other)),
      kNames - 8, top + kBar - 5, Escape(bar.name));
  double left = kNames;
  const std::pair<double, const char*> parts[] = {
      {bar.weights, "weights"}, {bar.kv, "kv"}, {bar.other, "work"}};
  for (const auto& [bytes, css_class] : parts) {
    const double width = bytes / largest * (kWidth - kNames - kValues);
    svg += absl::StrFormat(
        "<rect class=\"part %s\" x=\"%.2f\" y=\"%g\" width=\"%.2f\" height=\"%g\"/>\n", css_class,
        left, top, width, kBar);
    left += width;
  }
  return svg + absl::StrFormat("<text class=\"tick\" x=\"%.1f\" y=\"%g\">%s</text></g>\n", left + 7,
                               top + kBar - 5, ByteText(bar.total()));
}

std::string BarsSvg(const std::vector<Bar>& bars, const std::string& title) {
  double largest = 1.0;
  for (const Bar& bar : bars) largest = std::max(largest, bar.total());
  const double height = static_cast<double>(bars.size()) * (kBar + kGap) + kGap;
  std::string svg = absl::StrFormat(
      "<svg class=\"plot wide\" viewBox=\"0 0 %g %g\" role=\"group\" "
      "aria-label=\"%s\">\n<title>%s</title>\n",
      kWidth, height, Escape(title), Escape(title));
  for (size_t i = 0; i < bars.size(); ++i) {
    svg += BarSvg(bars[i], kGap + static_cast<double>(i) * (kBar + kGap), largest);
  }
  return svg + "</svg>\n";
}

TableRow TableRowOf(const Bar& bar) {
  return {.cells = {{Escape(bar.name)},
                    {ByteText(bar.weights), true},
                    {ByteText(bar.kv), true},
                    {ByteText(bar.other), true},
                    {ByteText(bar.total()), true}},
          .css_class = bar.css_class};
}

}  // namespace

std::string MemorySection(const MarkedModel& marked) {
  std::string html;
  for (const int64_t tokens : marked.report().memory_tokens) {
    const std::vector<Bar> bars = BarsAt(marked, tokens);
    if (bars.empty()) continue;
    const std::string title = "Total memory of one sequence of " + CountText(tokens) + " tokens";
    std::vector<TableRow> rows;
    for (const Bar& bar : bars) rows.push_back(TableRowOf(bar));
    html += "<figure>\n<figcaption>" + title + "</figcaption>\n" + BarsSvg(bars, title) +
            "</figure>\n<details><summary>As a table</summary>\n" +
            TableHtml(title, {"", "Weights", "KV cache", "Scores or workspace", "Total"}, rows) +
            "</details>\n";
  }
  if (html.empty()) return "";
  return "<h3>Where the memory goes</h3>\n<p>Quantized weights alone, a quantized cache alone, and "
         "both. \u201CBest\u201D takes the least memory at a loss of at most 1%.</p>\n"
         "<p class=\"legend\"><span class=\"key weights\"></span>weights <span class=\"key "
         "kv\"></span>KV cache <span class=\"key work\"></span>attention scores (eager) or "
         "workspace "
         "of one prefill chunk</p>\n" +
         html;
}

}  // namespace kvpareto::tune
