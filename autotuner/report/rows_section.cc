// The numbers behind the plots: marked rows, and all of them.
#include <set>

#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

std::vector<std::string> Headers(const MarkedModel& marked) {
  std::vector<std::string> headers = {"", "Config"};
  if (marked.model().weights.size() > 1) headers.push_back("Weights");
  headers.push_back("KV bits");
  for (const int64_t tokens : marked.report().memory_tokens) {
    headers.push_back("KV cache, " + CountText(tokens) + " tokens");
    headers.push_back("Total");
  }
  for (const int64_t context : marked.report().contexts) {
    headers.push_back("Agreement to " + CountText(context) + " (95% low)");
    headers.push_back("KL mean / p99");
  }
  headers.insert(headers.end(), {"Task score change (95%)", "Items changed", "Prefill tokens/s",
                                 "Decode tokens/s", "Peak predicted / measured", "Note"});
  return headers;
}

std::string NoteOf(const ReportRow& row) {
  if (!row.failure.empty()) return Escape(row.failure);
  std::string note;
  for (const int64_t context : row.frontier) {
    note += (note.empty() ? "frontier at " : ", ") + CountText(context);
  }
  if (note.empty()) note = Escape(row.stage);
  return "<span class=\"note\">" + note + "</span>";
}

TableRow RowCells(const MarkedModel& marked, const ReportRow& row) {
  TableRow cells{.css_class = row.is_paper()       ? "paper"
                              : row.is_reference() ? "reference"
                                                   : "ours",
                 .id = marked.MarkOf(row).id};
  const auto add = [&](const std::string& html, bool number = true) {
    cells.cells.push_back({html, number});
  };
  add(Escape(marked.MarkOf(row).label));
  add("<details><summary>" + Escape(row.name) + "</summary><code>" + Escape(row.config) +
          "</code></details>",
      false);
  if (marked.model().weights.size() > 1) add(Escape(WeightsText(row.weights)), false);
  add(row.memory.empty() ? "" : FixedText(row.memory.front().bits_per_element, 2));
  for (const int64_t tokens : marked.report().memory_tokens) {
    const ReportMemory* memory = row.MemoryAt(tokens);
    add(memory == nullptr ? "" : ByteText(memory->kv));
    add(memory == nullptr ? "" : ByteText(memory->total));
  }
  for (const int64_t context : marked.report().contexts) {
    const ReportAccuracy* bucket = row.AccuracyAt(context);
    add(bucket == nullptr
            ? ""
            : PercentText(bucket->accuracy, 2) + " (" + PercentText(bucket->low, 2) + ")");
    add(bucket == nullptr ? "" : ShortText(bucket->kl_mean) + " / " + ShortText(bucket->kl_p99));
  }
  const bool scored = row.score && row.score->relative;
  add(!scored ? ""
              : SignedPercentText(row.score->relative->value) + " (" +
                    SignedPercentText(row.score->relative->low) + " to " +
                    SignedPercentText(row.score->relative->high) + ")");
  add(!scored ? "" : CountText(row.score->changed) + " of " + CountText(row.score->items));
  add(row.speed ? ShortText(row.speed->prefill) : "");
  add(row.speed ? ShortText(row.speed->decode) : "");
  add(row.peak ? CountText(row.peak->predicted) + " / " + CountText(row.peak->measured) + " B at " +
                     CountText(row.peak->context)
               : "");
  add(NoteOf(row), false);
  return cells;
}

std::string RowsTable(const MarkedModel& marked, bool all) {
  std::vector<TableRow> rows;
  for (const ReportRow* row : marked.rows()) {
    if (all || marked.IsMarked(*row)) rows.push_back(RowCells(marked, *row));
  }
  return TableHtml(all ? "All configs, by memory"
                       : "Frontier, paper\u2019s formats and bf16, by "
                         "memory",
                   Headers(marked), rows);
}

// Every task and context of the marked rows that have been evaluated.
std::string TasksTable(const MarkedModel& marked) {
  std::vector<TableRow> rows;
  for (const ReportRow* row : marked.rows()) {
    if (!marked.IsMarked(*row)) continue;
    for (const ReportScore& task : row->tasks) {
      rows.push_back({.cells = {{Escape(marked.MarkOf(*row).label)},
                                {Escape(row->name)},
                                {Escape(task.task)},
                                {CountText(task.context), true},
                                {FixedText(task.score, 3), true},
                                {FixedText(task.reference, 3), true},
                                {FixedText(task.difference.value, 3) + " (" +
                                     FixedText(task.difference.low, 3) + " to " +
                                     FixedText(task.difference.high, 3) + ")",
                                 true},
                                {CountText(task.changed) + " of " + CountText(task.items), true}},
                      .css_class = row->is_paper() ? "paper" : "ours",
                      .id = marked.MarkOf(*row).id});
    }
  }
  if (rows.empty()) return "";
  return "<details><summary>Scores task by task (" + std::to_string(rows.size()) + ")</summary>\n" +
         TableHtml("Scores task by task",
                   {"", "Config", "Task", "Context", "Score", "bf16", "Difference (95%)",
                    "Items changed"},
                   rows) +
         "</details>\n";
}

}  // namespace

std::string RowsSection(const MarkedModel& marked) {
  return "<h3>Configs</h3>\n" + RowsTable(marked, false) + TasksTable(marked) +
         "<details><summary>All " + std::to_string(marked.rows().size()) +
         " configs that were tried</summary>\n" + RowsTable(marked, true) + "</details>\n";
}

}  // namespace kvpareto::tune
