#include "autotuner/report/report_page.h"

#include "autotuner/report/html.h"
#include "autotuner/report/report_sections.h"
#include "autotuner/report/report_style.h"

namespace kvpareto::tune {
namespace {

std::string TitleOf(const Report& report) {
  std::string title = "KV Pareto:";
  for (const ReportModel& model : report.models) {
    title += (&model == report.models.data() ? " " : ", ") + model.name;
  }
  return title;
}

std::string ModelSection(const Report& report, size_t index) {
  const ReportModel& model = report.models[index];
  const MarkedModel marked(report, model, index);
  return "<section>\n<h2>" + Escape(model.name) + "</h2>\n<p class=\"lead\">" +
         Escape(model.full_name) + ": " + std::to_string(marked.rows().size()) +
         " configs tried.</p>\n" + SummarySection(marked) + FrontierSection(marked) +
         RowsSection(marked) + MemorySection(marked) + TechniqueSection(marked) +
         LayerSection(marked) + "</section>\n";
}

std::string Header(const Report& report) {
  std::string html = "<header>\n<h1>" + Escape(TitleOf(report)) + "</h1>\n<p class=\"lead\">" +
                     Escape(report.date) + " \u00B7 " + Escape(report.machine) + "</p>\n";
  if (!report.complete) {
    html +=
        "<p class=\"warning\">The run has not finished: what follows is what it has found so "
        "far.</p>\n";
  }
  return html +
         "<p>How precisely must a model\u2019s KV cache be kept? Each point is a config: codecs of "
         "keys and values, what is done to them before, windows kept in bf16, and the prefill "
         "chunk. "
         "Point at one, or reach it with the Tab key, to read what it is.</p>\n</header>\n";
}

}  // namespace

absl::StatusOr<std::string> HtmlReport(std::string_view results_json) {
  KVP_ASSIGN_OR_RETURN(const Report report, ParseReport(results_json));
  std::string html =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
      "'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>" +
      Escape(TitleOf(report)) + "</title>\n<style>" + kReportStyle + "</style>\n</head>\n<body>\n" +
      Header(report) + "<main>\n";
  for (size_t i = 0; i < report.models.size(); ++i) html += ModelSection(report, i);
  return html + ProvenanceSection(report) + "</main>\n<script>" + kReportScript +
         "</script>\n</body>\n</html>\n";
}

}  // namespace kvpareto::tune
