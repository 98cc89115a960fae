// kvpareto plan: which KV config a request would get, and why, without running it.
#include <ostream>

#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/plan_text.h"
#include "clients/cli/request.h"
#include "clients/cli/session.h"
#include "kvpareto/v1/inference.grpc.pb.h"

namespace kvpareto::cli {
namespace {

// key=value lines with stable keys: for scripts.
void PrintRaw(const v1::PlanResponse& response, std::ostream& out) {
  const v1::KvPlan& kv = response.kv();
  out << "model=" << response.model() << "\nprompt_tokens=" << response.prompt_tokens()
      << "\nmax_tokens=" << response.max_tokens() << "\nconfig_name=" << kv.config_name()
      << "\nconfig=" << kv.config() << "\nkv_peak_bytes=" << kv.kv_peak_bytes()
      << "\nworkspace_bytes=" << kv.workspace_bytes()
      << "\npredicted_peak_bytes=" << kv.predicted_peak_bytes()
      << "\nbf16_peak_bytes=" << kv.bf16_peak_bytes() << "\nreason=" << ReasonName(kv.reason());
  if (kv.has_accuracy()) out << "\naccuracy=" << kv.accuracy();
  out << "\n";
}

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  absl::StatusOr<v1::GenerateRequest> generate = BuildRequest(args, session->model);
  if (!generate.ok()) return ToGrpc(generate.status());
  absl::StatusOr<v1::Prompt> prompt = ReadPrompt(args, console);
  if (!prompt.ok()) return ToGrpc(prompt.status());
  *generate->mutable_prompt() = *std::move(prompt);

  v1::PlanRequest request;
  *request.mutable_request() = *std::move(generate);
  v1::PlanResponse response;
  grpc::ClientContext context;
  session->Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const grpc::Status status =
      session->Stub<v1::InferenceService>()->Plan(&context, request, &response);
  if (!status.ok()) return status;
  if (args.Has("raw")) {
    PrintRaw(response, console.out);
  } else {
    console.out << DescribePlan(response.kv(), response.prompt_tokens(), response.max_tokens());
  }
  return grpc::Status::OK;
}

}  // namespace

Command PlanCommand() {
  return {.name = "plan",
          .summary = "explain the KV config that a request would get",
          .usage = "[FLAGS] [PROMPT...]",
          .flags = Join(Join(PromptFlags(), RequestFlags()),
                        {{"n", "COUNT", "independent continuations"},
                         {"raw", "", "key=value lines, bytes as numbers"}}),
          .run = Run};
}

}  // namespace kvpareto::cli
