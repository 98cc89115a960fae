// What the result is, in one table.
#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

constexpr double kAllowed[] = {0.01, 0.03};

std::string ChangeText(const Loss& loss) {
  const Interval& change = loss.change;
  return SignedPercentText(change.value) + " (" + SignedPercentText(change.low) + " to " +
         SignedPercentText(change.high) + ")";
}

TableRow RowOf(const MarkedModel& marked, int64_t tokens, double allowed, bool paper) {
  TableRow table_row{.cells = {{"at most " + PercentText(allowed, 0)}, {CountText(tokens), true}},
                     .css_class = paper ? "paper" : "ours"};
  const auto add = [&](const std::string& html, bool number = false) {
    table_row.cells.push_back({html, number});
  };
  add(paper ? "the paper\u2019s formats" : "this search");
  const ReportRow* row = LeastMemory(marked, tokens, allowed, paper);
  if (row == nullptr) {
    add("none");
    for (int i = 0; i < 5; ++i) add("");
    return table_row;
  }
  const ReportMemory& memory = *row->MemoryAt(tokens);
  table_row.id = marked.MarkOf(*row).id;
  add("<code>" + Escape(row->name) + "</code>" +
      (marked.model().weights.size() > 1 ? ", weights " + Escape(WeightsText(row->weights)) : ""));
  add(FixedText(memory.bits_per_element, 2), true);
  add(ChangeText(*LossOf(marked.report(), *row)), true);
  add(ByteText(memory.total), true);
  add(PercentText(memory.reduction_eager), true);
  add(PercentText(memory.reduction_flash), true);
  return table_row;
}

bool HasPaper(const MarkedModel& marked) {
  for (const ReportRow* row : marked.rows()) {
    if (row->is_paper()) return true;
  }
  return false;
}

bool HasTasks(const MarkedModel& marked) {
  for (const ReportRow* row : marked.rows()) {
    if (row->score && row->score->relative) return true;
  }
  return false;
}

}  // namespace

std::string SummarySection(const MarkedModel& marked) {
  std::vector<TableRow> rows;
  for (const double allowed : kAllowed) {
    for (const int64_t tokens : marked.report().memory_tokens) {
      rows.push_back(RowOf(marked, tokens, allowed, /*paper=*/false));
      if (HasPaper(marked)) rows.push_back(RowOf(marked, tokens, allowed, /*paper=*/true));
    }
  }
  const bool tasks = HasTasks(marked);
  return "<h3>What it saves</h3>\n<p>The config that takes the least total memory (weights, KV "
         "cache and workspace of one sequence) among those that lose no more than stated of " +
         std::string(tasks ? "the mean task score of the bf16 cache. In brackets: 95% confidence."
                           : "agreement with the bf16 cache at the largest context. In brackets: "
                             "the 95% lower bound.") +
         " Reductions are against bf16 weights and a bf16 cache, with attention that keeps a score "
         "matrix of tokens \u00D7 tokens (\u201Ceager\u201D) and with attention that does not "
         "(\u201Cflash\u201D).</p>\n" +
         TableHtml("Least memory at a given loss",
                   {"Loss", "Tokens", "Among", "Config", "KV bits per element", "Change (95%)",
                    "Total memory", "Less than eager", "Less than flash"},
                   rows);
}

}  // namespace kvpareto::tune
