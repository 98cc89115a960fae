// kvpareto generate: one prompt in, its continuation out, as it is made.
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "clients/cli/commands.h"
#include "clients/cli/errors.h"
#include "clients/cli/plan_text.h"
#include "clients/cli/request.h"
#include "clients/cli/session.h"
#include "clients/cli/stream.h"

namespace kvpareto::cli {
namespace {

std::string FinishName(v1::FinishReason reason) {
  return reason == v1::FINISH_REASON_STOP     ? "stop"
         : reason == v1::FINISH_REASON_LENGTH ? "length"
                                              : "unknown";
}

// Collects the output: one sequence is shown as it comes, several one after the other at the end.
class Output {
 public:
  Output(int sequences, Console& console) : console_(console), sequences_(sequences) {}

  // Returns false when the output cannot be written any more.
  bool Add(const v1::Delta& delta) {
    const size_t index = static_cast<size_t>(delta.sequence());
    // The server's numbering, not ours: grows to what it sends.
    if (index >= sequences_.size()) sequences_.resize(index + 1);
    Sequence& sequence = sequences_[index];
    for (const v1::Token& token : delta.tokens()) sequence.tokens.push_back(token);
    if (delta.finish_reason() != v1::FINISH_REASON_UNSPECIFIED) {
      sequence.finish_reason = delta.finish_reason();
    }
    if (sequences_.size() > 1) {
      sequence.text += delta.text();
      return true;
    }
    ends_with_newline_ = delta.text().empty() ? ends_with_newline_ : delta.text().back() == '\n';
    console_.out << delta.text() << std::flush;
    return console_.out.good();
  }

  void End() {
    if (sequences_.size() == 1 && !ends_with_newline_) console_.out << "\n";
    for (size_t i = 0; i < sequences_.size(); ++i) {
      if (sequences_.size() > 1) {
        console_.out << absl::StrFormat("--- %d (%s)\n", i, FinishName(sequences_[i].finish_reason))
                     << sequences_[i].text << "\n";
      }
      PrintTokens(sequences_[i].tokens);
    }
    console_.out.flush();
  }

 private:
  struct Sequence {
    std::string text;
    std::vector<v1::Token> tokens;
    v1::FinishReason finish_reason = v1::FINISH_REASON_UNSPECIFIED;
  };

  // id, log-probability, and the alternatives with theirs.
  void PrintTokens(const std::vector<v1::Token>& tokens) {
    if (!tokens.empty()) console_.out << "token\tlogprob\tlikeliest\n";
    for (const v1::Token& token : tokens) {
      console_.out << token.id() << "\t" << absl::StrFormat("%.6f", token.logprob());
      for (const v1::TokenLogprob& top : token.top()) {
        console_.out << "\t"
                     << absl::StrFormat("%d %.6f %s", top.token_id(), top.logprob(),
                                        absl::CHexEscape(top.text()));
      }
      console_.out << "\n";
    }
  }

  Console& console_;
  std::vector<Sequence> sequences_;
  bool ends_with_newline_ = true;
};

grpc::Status Run(const Args& args, Console& console) {
  const absl::StatusOr<Session> session = Session::Open(args);
  if (!session.ok()) return ToGrpc(session.status());
  absl::StatusOr<v1::GenerateRequest> request = BuildRequest(args, session->model);
  if (!request.ok()) return ToGrpc(request.status());
  absl::StatusOr<v1::Prompt> prompt = ReadPrompt(args, console);
  if (!prompt.ok()) return ToGrpc(prompt.status());
  *request->mutable_prompt() = *std::move(prompt);

  const bool explain = args.Has("explain");
  Output output(request->response().has_sequences() ? request->response().sequences() : 1, console);
  const StreamEvents events{.on_plan =
                                [&](const v1::GeneratePlan& plan) {
                                  if (!explain) return;
                                  console.err << DescribePlan(plan.kv(), plan.prompt_tokens(),
                                                              plan.max_tokens())
                                              << std::flush;
                                },
                            .on_delta = [&](const v1::Delta& delta) { return output.Add(delta); },
                            .on_result =
                                [&](const v1::GenerateResult& result) {
                                  output.End();
                                  if (explain) console.err << DescribeUsage(result.usage());
                                }};
  return RunGenerate(*session, *request, events);
}

}  // namespace

Command GenerateCommand() {
  return {
      .name = "generate",
      .summary = "continue a prompt",
      .usage = "[FLAGS] [PROMPT...]   (no words, no --file: standard input)",
      .flags = Join(Join(PromptFlags(), RequestFlags()),
                    {{"n", "COUNT", "independent continuations"},
                     {"logprobs", "COUNT", "print log-probabilities, with so many alternatives"},
                     {"explain", "", "print plan, bytes and timings to standard error"}}),
      .run = Run};
}

}  // namespace kvpareto::cli
