#include <iostream>

#include "absl/flags/flag.h"
#include "autotuner/commands.h"
#include "autotuner/common_flags.h"
#include "autotuner/report/report_page.h"

namespace kvpareto::tune {

absl::Status RunReport(const std::string& /*command*/, const std::vector<std::string>& files) {
  const std::string out_path = absl::GetFlag(FLAGS_out);
  if (files.size() != 1) return absl::InvalidArgumentError("report: expected one RESULTS.json");
  if (out_path.empty()) return absl::InvalidArgumentError("--out is missing");
  KVP_ASSIGN_OR_RETURN(const std::string results, ReadTextFile(files.front()));
  const absl::StatusOr<std::string> html = HtmlReport(results);
  if (!html.ok()) return Annotate(html.status(), files.front());
  KVP_RETURN_IF_ERROR(WriteTextFile(out_path, *html));
  std::cerr << "report written to " << out_path << "\n";
  return absl::OkStatus();
}

}  // namespace kvpareto::tune
