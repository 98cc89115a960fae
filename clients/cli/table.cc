// kvpareto table: the KV configs to choose from, with what was measured of each.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/session.h"
#include "clients/cli/units.h"
#include "kvpareto/v1/model.grpc.pb.h"

namespace kvpareto::cli {
namespace {

// One line per row and accuracy bucket; what belongs to the row stands on its first line.
std::string DescribeRow(const v1::ParetoRow& row) {
  const std::string head =
      absl::StrFormat("%-18s %9.1f %10s %10s %9.0f %9.1f", row.name(), row.bytes_per_token(),
                      FormatBytes(row.fixed_bytes()), FormatBytes(row.workspace_bytes()),
                      row.prefill_tokens_per_second(), row.decode_tokens_per_second());
  if (row.accuracy().empty()) return absl::StrCat(head, "   not measured\n");
  std::string text;
  for (const v1::AccuracyBucket& bucket : row.accuracy()) {
    absl::StrAppendFormat(&text, "%s %8d %8.4f %8.4f %9.5f %7.4f\n",
                          text.empty() ? head : std::string(head.size(), ' '),
                          bucket.max_context_tokens(), bucket.accuracy_low(), bucket.accuracy(),
                          bucket.kl_mean(), bucket.perplexity_ratio());
  }
  return text;
}

std::string DescribeTable(const v1::ParetoTable& table) {
  std::string text = absl::StrFormat("%-18s %9s %10s %10s %9s %9s %8s %8s %8s %9s %7s\n", "config",
                                     "B/token", "fixed", "workspace", "prefill/s", "decode/s",
                                     "context", "acc low", "accuracy", "KL", "ppl x");
  for (const v1::ParetoRow& row : table.rows()) text += DescribeRow(row);
  for (const v1::ParetoRow& row : table.rows()) {
    absl::StrAppendFormat(&text, "%s: %s\n", row.name(), row.config());
  }
  const v1::TableProvenance& provenance = table.provenance();
  if (!provenance.command().empty()) {
    absl::StrAppendFormat(&text, "measured %s on %s, text %s, by %s:\n  %s\n", provenance.date(),
                          provenance.machine(), provenance.text(), provenance.tool_version(),
                          provenance.command());
  }
  return text;
}

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  v1::GetParetoTableRequest request;
  request.set_model(session->model);
  v1::GetParetoTableResponse response;
  grpc::ClientContext context;
  session->Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const grpc::Status status =
      session->Stub<v1::ModelService>()->GetParetoTable(&context, request, &response);
  if (!status.ok()) return status;
  console.out << DescribeTable(response.table());
  return grpc::Status::OK;
}

}  // namespace

Command TableCommand() {
  return {.name = "table",
          .summary = "show a model's Pareto table",
          .usage = "[FLAGS]",
          .flags = {},
          .run = Run};
}

}  // namespace kvpareto::cli
