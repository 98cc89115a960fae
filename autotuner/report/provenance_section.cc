// Where the numbers come from: what it takes to get them again.
#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"

namespace kvpareto::tune {
namespace {

TableRow Line(const std::string& name, const std::string& html) {
  return {.cells = {{Escape(name)}, {html}}};
}

void AddModel(const ReportModel& model, std::vector<TableRow>& rows) {
  const std::string name = "Model " + model.name;
  rows.push_back(Line(name, Escape(model.full_name) + ", " + CountText(model.layers) + " layers, " +
                                CountText(model.kv_heads) + " KV heads of " +
                                CountText(model.head_dim)));
  for (const ReportWeights& weights : model.weights) {
    std::string html = Escape(weights.file) + ", " + ByteText(weights.bytes) +
                       ", fingerprint <code>" + Escape(weights.fingerprint) + "</code>";
    if (!weights.calibration.empty()) {
      html += ", calibration <code>" + Escape(weights.calibration) + "</code>";
    }
    if (!weights.table.empty()) html += ", table " + Escape(weights.table);
    rows.push_back(Line(name + ", weights " + WeightsText(weights.kind), html));
  }
  for (const ReportTask& task : model.tasks) {
    std::string html = Escape(task.kind);
    for (const auto& [context, items] : task.contexts) {
      html += ", " + CountText(items) + " items up to " + CountText(context) + " tokens";
    }
    rows.push_back(
        Line(name + ", task " + task.name, html + ", <code>" + Escape(task.digest) + "</code>"));
  }
}

}  // namespace

std::string ProvenanceSection(const Report& report) {
  std::vector<TableRow> rows = {
      Line("Command", "<code>" + Escape(report.command) + "</code>"),
      Line("Date", Escape(report.date)),
      Line("Machine", Escape(report.machine)),
      Line("Version", Escape(report.tool_version)),
      Line("Tuning file, SHA-256", "<code>" + Escape(report.spec_digest) + "</code>"),
      Line("Search", Escape(report.mode) + ", seed " + std::to_string(report.seed)),
      Line("Text", Escape(report.text))};
  for (const ReportModel& model : report.models) AddModel(model, rows);
  return "<section>\n<h2>Provenance</h2>\n" +
         TableHtml("What was measured, with what, on what", {"", ""}, rows) +
         "<h3>How to read it</h3>\n<ul>\n"
         "<li><b>Agreement</b>: how often the likeliest token is that of the bf16 cache on the "
         "same "
         "text, by teacher forcing; the bound is the lower end of a 95% interval.</li>\n"
         "<li><b>Task score change</b>: relative to bf16 on the same items, mean of tasks and "
         "contexts, 95% paired bootstrap. It covers the choice of items, not of tasks.</li>\n"
         "<li><b>KV bits per element</b>: everything that is stored, with scales, sinks, windows "
         "and "
         "the open block.</li>\n"
         "<li><b>Frontier</b>: no other config is better in bytes, accuracy and decode speed "
         "together at that context.</li>\n</ul>\n</section>\n";
}

}  // namespace kvpareto::tune
