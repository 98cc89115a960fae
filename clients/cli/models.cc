// kvpareto models: what the server serves.
#include <ostream>

#include "absl/strings/str_format.h"
#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/session.h"
#include "clients/cli/units.h"
#include "kvpareto/v1/model.grpc.pb.h"

namespace kvpareto::cli {
namespace {

std::string DescribeModel(const v1::Model& model) {
  std::string text =
      absl::StrFormat("%s%s%s\n", model.name(), model.is_default() ? " (default)" : "",
                      model.state() == v1::MODEL_STATE_DRAINING ? " draining" : "");
  absl::StrAppendFormat(&text, "  file        %s, %s, fingerprint %s\n", model.file_name(),
                        FormatBytes(model.file_bytes()), model.fingerprint());
  absl::StrAppendFormat(&text,
                        "  shape       %s: %d layers, hidden %d, heads %d/%d x %d, vocabulary %s\n",
                        model.architecture(), model.layers(), model.hidden(), model.heads(),
                        model.kv_heads(), model.head_dim(), FormatCount(model.vocab()));
  absl::StrAppendFormat(
      &text, "  context     %s tokens%s%s\n", FormatCount(model.context_tokens()),
      model.sliding_window() > 0
          ? absl::StrFormat(", sliding window %s", FormatCount(model.sliding_window()))
          : "",
      model.has_chat_template() ? ", chat template" : ", no chat template");
  absl::StrAppendFormat(&text,
                        "  KV          %s for all requests, %s a token in bf16, %d configs\n",
                        FormatBytes(model.kv_capacity_bytes()),
                        FormatBytes(model.bf16_bytes_per_token()), model.table_rows());
  absl::StrAppendFormat(&text, "  running on  %s, weights %s, loaded in %.2f s\n", model.backend(),
                        FormatBytes(model.weights_bytes()),
                        model.load_time().seconds() + 1e-9 * model.load_time().nanos());
  return text;
}

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  v1::ListModelsResponse response;
  grpc::ClientContext context;
  session->Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const grpc::Status status =
      session->Stub<v1::ModelService>()->ListModels(&context, v1::ListModelsRequest(), &response);
  if (!status.ok()) return status;
  for (const v1::Model& model : response.models()) console.out << DescribeModel(model);
  return grpc::Status::OK;
}

}  // namespace

Command ModelsCommand() {
  return {.name = "models",
          .summary = "list the server's models",
          .usage = "[FLAGS]",
          .flags = {},
          .run = Run};
}

}  // namespace kvpareto::cli
