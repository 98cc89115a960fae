// kvpareto tokens: how many tokens a prompt is.
#include <ostream>

#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/request.h"
#include "clients/cli/session.h"
#include "clients/cli/units.h"
#include "kvpareto/v1/inference.grpc.pb.h"

namespace kvpareto::cli {
namespace {

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  absl::StatusOr<v1::Prompt> prompt = ReadPrompt(args, console);
  if (!prompt.ok()) return ToGrpc(prompt.status());

  v1::CountTokensRequest request;
  request.set_model(session->model);
  *request.mutable_prompt() = *std::move(prompt);
  request.set_token_ids(args.Has("ids"));
  v1::CountTokensResponse response;
  grpc::ClientContext context;
  session->Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const grpc::Status status =
      session->Stub<v1::InferenceService>()->CountTokens(&context, request, &response);
  if (!status.ok()) return status;
  console.out << response.tokens() << "\n";
  for (int i = 0; i < response.ids_size(); ++i) {
    console.out << response.ids(i) << (i + 1 == response.ids_size() ? "\n" : " ");
  }
  if (console.output_is_terminal) {
    console.err << "of a context of " << FormatCount(response.context_tokens()) << " tokens\n";
  }
  return grpc::Status::OK;
}

}  // namespace

Command TokensCommand() {
  return {.name = "tokens",
          .summary = "count the tokens of a prompt",
          .usage = "[FLAGS] [PROMPT...]",
          .flags = Join(PromptFlags(), {{"ids", "", "print the token ids, too"}}),
          .run = Run};
}

}  // namespace kvpareto::cli
