// kvpareto chat: a conversation on the terminal; every turn sends all of it.
#include <istream>
#include <ostream>
#include <string>

#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/plan_text.h"
#include "clients/cli/request.h"
#include "clients/cli/session.h"
#include "clients/cli/stream.h"

namespace kvpareto::cli {
namespace {

constexpr const char* kHelp =
    "/reset forgets the conversation, /quit or Ctrl-D ends, Ctrl-C stops an answer\n";

class Chat {
 public:
  Chat(const Session& session, v1::GenerateRequest request, bool explain, Console& console)
      : session_(session), request_(std::move(request)), explain_(explain), console_(console) {}

  void Reset(const std::string& system) {
    messages().Clear();
    if (!system.empty()) Add("system", system);
  }

  // Asks, shows the answer, and keeps both. A turn that failed is forgotten.
  grpc::Status Turn(const std::string& text) {
    Add("user", text);
    std::string answer;
    const StreamEvents events{.on_plan =
                                  [&](const v1::GeneratePlan& plan) {
                                    if (!explain_) return;
                                    console_.err << DescribePlan(plan.kv(), plan.prompt_tokens(),
                                                                 plan.max_tokens());
                                  },
                              .on_delta =
                                  [&](const v1::Delta& delta) {
                                    answer += delta.text();
                                    console_.out << delta.text() << std::flush;
                                    return console_.out.good();
                                  },
                              .on_result =
                                  [&](const v1::GenerateResult& result) {
                                    if (explain_)
                                      console_.err << "\n" << DescribeUsage(result.usage());
                                  }};
    const grpc::Status status = RunGenerate(session_, request_, events);
    console_.out << "\n";
    // An answer that the user cut short is part of the conversation.
    const bool cut_short = Interrupted() && !answer.empty();
    if (status.ok() || cut_short) {
      Add("assistant", answer);
      return grpc::Status::OK;
    }
    messages().RemoveLast();
    return status;
  }

 private:
  google::protobuf::RepeatedPtrField<v1::ChatMessage>& messages() {
    return *request_.mutable_prompt()->mutable_messages()->mutable_messages();
  }
  void Add(const char* role, const std::string& content) {
    v1::ChatMessage* message = messages().Add();
    message->set_role(role);
    message->set_content(content);
  }

  const Session& session_;
  v1::GenerateRequest request_;
  const bool explain_;
  Console& console_;
};

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  absl::StatusOr<v1::GenerateRequest> request = BuildRequest(args, session->model);
  if (!request.ok()) return ToGrpc(request.status());
  if (!args.words().empty()) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                        "chat takes no words; it asks for them");
  }

  Chat chat(*session, *std::move(request), args.Has("explain"), console);
  chat.Reset(args.Text("system"));
  if (console.input_is_terminal) console.err << kHelp;
  std::string line;
  while (true) {
    if (console.input_is_terminal) console.err << "> " << std::flush;
    if (!std::getline(console.in, line)) {
      if (console.input_is_terminal) console.err << "\n";
      return grpc::Status::OK;
    }
    if (line == "/quit") return grpc::Status::OK;
    if (line.empty()) continue;
    if (line == "/reset") {
      chat.Reset(args.Text("system"));
    } else if (line[0] == '/') {
      console.err << kHelp;
    } else if (const grpc::Status status = chat.Turn(line); !status.ok()) {
      // On a terminal one may try again; a script wants to know.
      if (!console.input_is_terminal) return status;
      if (Interrupted()) continue;
      console.err << "error: " << DescribeError(status);
    }
  }
}

}  // namespace

Command ChatCommand() {
  return {.name = "chat",
          .summary = "talk with the model",
          .usage = "[FLAGS]",
          .flags = Join({{"system", "TEXT", "system message"},
                         {"explain", "", "print plan, bytes and timings of every answer"}},
                        RequestFlags()),
          .run = Run};
}

}  // namespace kvpareto::cli
