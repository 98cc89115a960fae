// The whole program, from words to output, against a fake server.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <sstream>
#include <thread>

#include "clients/cli/commands.h"
#include "clients/cli/interrupt.h"
#include "fake_server.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace kvpareto::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Signals must be blocked before the first thread exists.
class Signals : public ::testing::Environment {
  void SetUp() override { HandleInterrupts(); }
};
const auto* const kSignals = ::testing::AddGlobalTestEnvironment(new Signals);

v1::GenerateResponse Event(const std::string& text) {
  v1::GenerateResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &response)) << text;
  return response;
}

// Collects text and tells other threads when the first of it has come.
class WatchedOutput : public std::stringbuf {
 public:
  explicit WatchedOutput(std::atomic<bool>* written) : written_(written) {}

 protected:
  std::streamsize xsputn(const char* text, std::streamsize size) override {
    const std::streamsize done = std::stringbuf::xsputn(text, size);
    if (done > 0) *written_ = true;
    return done;
  }

 private:
  std::atomic<bool>* const written_;
};

class ProgramTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> words, const std::string& input = "") {
    std::istringstream in(input);
    WatchedOutput output(&output_began_);
    std::ostream out(&output);
    std::ostringstream err;
    Console console{.in = in, .out = out, .err = err};
    words.insert(words.end(), {"--server", server_.address});
    const int status = RunProgram(words, console);
    out_ = output.str();
    err_ = err.str();
    return status;
  }

  FakeServer server_;
  std::atomic<bool> output_began_{false};
  std::string out_, err_;
};

TEST_F(ProgramTest, GenerateSendsEveryOption) {
  EXPECT_EQ(Run({"generate",
                 "--budget",
                 "64MiB",
                 "--accuracy",
                 "0.99",
                 "--objective",
                 "speed",
                 "--config",
                 "k=bf16",
                 "--max-tokens",
                 "5",
                 "--temperature",
                 "0.5",
                 "--top-p",
                 "0.9",
                 "--top-k",
                 "40",
                 "--min-p",
                 "0.1",
                 "--seed",
                 "18446744073709551615",
                 "--stop",
                 "x",
                 "--stop",
                 "\n",
                 "-n",
                 "1",
                 "--logprobs",
                 "2",
                 "--model",
                 "m",
                 "--class",
                 "batch",
                 "--chat",
                 "--system",
                 "be brief",
                 "Hello",
                 "there"}),
            0)
      << err_;
  ASSERT_EQ(server_.inference.requests.size(), 1u);
  const v1::GenerateRequest& got = server_.inference.requests[0];
  EXPECT_EQ(got.model(), "m");
  EXPECT_EQ(got.service_class(), "batch");
  EXPECT_EQ(got.kv().memory_budget_bytes(), 64u << 20);
  EXPECT_EQ(got.kv().accuracy_target(), 0.99);
  EXPECT_EQ(got.kv().objective(), v1::OBJECTIVE_SPEED);
  EXPECT_EQ(got.kv().pinned_config(), "k=bf16");
  EXPECT_EQ(got.stopping().max_tokens(), 5);
  EXPECT_THAT(got.stopping().stop_strings(), ElementsAre("x", "\n"));
  EXPECT_EQ(got.sampling().temperature(), 0.5f);
  EXPECT_EQ(got.sampling().top_p(), 0.9f);
  EXPECT_EQ(got.sampling().top_k(), 40);
  EXPECT_EQ(got.sampling().min_p(), 0.1f);
  EXPECT_EQ(got.sampling().seed(), 18446744073709551615u);
  EXPECT_EQ(got.response().sequences(), 1);
  EXPECT_EQ(got.response().top_logprobs(), 2);
  ASSERT_EQ(got.prompt().messages().messages_size(), 2);
  EXPECT_EQ(got.prompt().messages().messages(0).role(), "system");
  EXPECT_EQ(got.prompt().messages().messages(1).content(), "Hello there");
}

TEST_F(ProgramTest, WhatIsNotAskedForIsNotSent) {
  EXPECT_EQ(Run({"generate"}, "from standard input\n"), 0);
  const v1::GenerateRequest& got = server_.inference.requests.at(0);
  EXPECT_EQ(got.prompt().text(), "from standard input\n");
  EXPECT_FALSE(got.kv().has_memory_budget_bytes());
  EXPECT_FALSE(got.kv().has_accuracy_target());
  EXPECT_FALSE(got.stopping().has_max_tokens());
  EXPECT_FALSE(got.sampling().has_temperature());
  EXPECT_FALSE(got.response().has_top_logprobs());
}

TEST_F(ProgramTest, GenerateShowsTheTextAndExplains) {
  server_.inference.responses = {
      Event("plan { prompt_tokens: 6009 max_tokens: 64 kv { config_name: 'int4' reason: "
            "PLAN_REASON_BUDGET predicted_peak_bytes: 1048576 kv_peak_bytes: 1048576 "
            "bf16_peak_bytes: 4194304 explanation: "
            "'fits' accuracy: 0.95 } }"),
      Event("delta { text: 'Paris ' }"),
      Event("delta { text: 'é' finish_reason: FINISH_REASON_STOP }"),
      Event(
          "result { usage { generated_tokens: 3 measured_peak_bytes: 1000000 predicted_peak_bytes: "
          "1048576 timings { decode { nanos: 500000000 } } } }")};
  EXPECT_EQ(Run({"generate", "--explain", "x"}), 0) << err_;
  EXPECT_EQ(out_, "Paris é\n");
  EXPECT_THAT(err_, AllOf(HasSubstr("int4  [budget]"), HasSubstr("6,009 in the prompt"),
                          HasSubstr("1.00 MiB (1,048,576 B)"), HasSubstr("25.0% of it"),
                          HasSubstr(">= 0.9500"), HasSubstr("977 KiB (1,000,000 B)"),
                          HasSubstr("(+4.86%)"), HasSubstr("decode 0.500 s (4.0 tok/s)")));
  EXPECT_EQ(Run({"generate", "x"}), 0);
  EXPECT_EQ(err_, "");
}

TEST_F(ProgramTest, SeveralSequencesComeOneAfterTheOther) {
  server_.inference.responses = {
      Event("delta { sequence: 1 text: 'b' }"), Event("delta { sequence: 0 text: 'a' }"),
      Event("delta { sequence: 1 text: 'B' finish_reason: "
            "FINISH_REASON_LENGTH tokens { id: 7 logprob: -0.5 } }"),
      Event("delta { sequence: 0 finish_reason: FINISH_REASON_STOP }"), Event("result { }")};
  EXPECT_EQ(Run({"generate", "-n", "2", "x"}), 0);
  EXPECT_EQ(out_, "--- 0 (stop)\na\n--- 1 (length)\nbB\ntoken\tlogprob\tlikeliest\n7\t-0.500000\n");
}

TEST_F(ProgramTest, ErrorsShowReasonAndMetadata) {
  google::rpc::Status rich;
  google::rpc::ErrorInfo info;
  info.set_reason("NO_FEASIBLE_CONFIG");
  info.set_domain("kvpareto");
  (*info.mutable_metadata())["smallest_budget_bytes"] = "123";
  (*info.mutable_metadata())["best_accuracy"] = "0.9";
  rich.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(250'000'000);
  rich.add_details()->PackFrom(retry);
  server_.inference.status =
      grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "nothing fits", rich.SerializeAsString());
  EXPECT_EQ(Run({"generate", "x"}), 1);
  EXPECT_EQ(out_, "");
  EXPECT_EQ(err_,
            "error: INVALID_ARGUMENT: nothing fits\n  reason: NO_FEASIBLE_CONFIG (kvpareto)\n"
            "  best_accuracy: 0.9\n  smallest_budget_bytes: 123\n  retry after: 0.25 s\n");
}

TEST_F(ProgramTest, InterruptCancelsTheCall) {
  server_.inference.responses = {Event("delta { text: 'so far' }")};
  server_.inference.hang = true;
  std::thread interrupter([&] {
    // Only once the client has shown the text: a call cancelled before has nothing to show.
    while (!server_.inference.hanging || !output_began_) std::this_thread::yield();
    kill(getpid(), SIGINT);
  });
  EXPECT_EQ(Run({"generate", "x"}), 130);
  interrupter.join();
  server_.server->Shutdown();  // the handler has returned
  EXPECT_TRUE(server_.inference.cancelled);
  EXPECT_THAT(out_, HasSubstr("so far"));
  EXPECT_EQ(err_, "interrupted\n");
}

TEST_F(ProgramTest, DeadlineReachesTheServer) {
  server_.inference.hang = true;
  EXPECT_EQ(Run({"generate", "--timeout", "0.05", "x"}), 1);
  EXPECT_THAT(err_, HasSubstr("DEADLINE_EXCEEDED"));
}

TEST_F(ProgramTest, ChatKeepsItsHistory) {
  server_.inference.responses = {Event("delta { text: 'Hi.' }"), Event("result { }")};
  EXPECT_EQ(Run({"chat", "--system", "s"}, "one\ntwo\n/reset\nthree\n/quit\nfour\n"), 0) << err_;
  const auto& requests = server_.inference.requests;
  ASSERT_EQ(requests.size(), 3u);
  const auto contents = [](const v1::GenerateRequest& request) {
    std::vector<std::string> all;
    for (const auto& message : request.prompt().messages().messages()) {
      all.push_back(message.role() + ":" + message.content());
    }
    return all;
  };
  EXPECT_THAT(contents(requests[0]), ElementsAre("system:s", "user:one"));
  EXPECT_THAT(contents(requests[1]),
              ElementsAre("system:s", "user:one", "assistant:Hi.", "user:two"));
  EXPECT_THAT(contents(requests[2]), ElementsAre("system:s", "user:three"));
  EXPECT_EQ(out_, "Hi.\nHi.\nHi.\n");
}

TEST_F(ProgramTest, PlanForScripts) {
  server_.inference.plan.mutable_kv()->set_bf16_peak_bytes(141557760);
  server_.inference.plan.mutable_kv()->set_reason(v1::PLAN_REASON_PINNED);
  EXPECT_EQ(Run({"plan", "--raw", "--config", "bf16", "x"}), 0);
  EXPECT_EQ(server_.inference.requests.at(0).kv().pinned_config(), "bf16");
  EXPECT_THAT(out_, AllOf(HasSubstr("\nbf16_peak_bytes=141557760\n"), HasSubstr("reason=pinned\n"),
                          Not(HasSubstr("accuracy"))));
}

TEST_F(ProgramTest, TokensModelsAndTable) {
  server_.inference.count.set_tokens(2);
  server_.inference.count.add_ids(5);
  server_.inference.count.add_ids(6);
  EXPECT_EQ(Run({"tokens", "--ids", "x"}), 0);
  EXPECT_EQ(out_, "2\n5 6\n");

  v1::Model* model = server_.models.models.add_models();
  model->set_name("smol");
  model->set_is_default(true);
  model->set_kv_capacity_bytes(1 << 30);
  EXPECT_EQ(Run({"models"}), 0);
  EXPECT_THAT(out_, AllOf(HasSubstr("smol (default)"), HasSubstr("1.00 GiB for all requests")));

  v1::ParetoRow* row = server_.models.table.mutable_table()->add_rows();
  row->set_name("int4");
  row->set_config("k=int4");
  row->add_accuracy()->set_accuracy_low(0.875);
  server_.models.table.mutable_table()->add_rows()->set_name("odd");
  EXPECT_EQ(Run({"table"}), 0);
  EXPECT_THAT(out_,
              AllOf(HasSubstr("0.8750"), HasSubstr("int4: k=int4"), HasSubstr("not measured")));
}

TEST_F(ProgramTest, MemoryOnceAndWatched) {
  v1::ModelMemory* model = server_.memory.snapshot.add_models();
  model->set_model("smol");
  model->set_capacity_bytes(100 << 20);
  model->set_allocated_bytes(50 << 20);
  v1::KvUsage* usage = model->add_usage();
  usage->set_config_name("int4");
  usage->set_service_class("default");
  usage->set_allocated_bytes(50 << 20);
  model->add_usage()->set_config_name("idle");
  EXPECT_EQ(Run({"memory", "--once"}), 0);
  EXPECT_THAT(out_, AllOf(HasSubstr("50.0 MiB of 100 MiB (50.0%)"), HasSubstr("int4 / default"),
                          HasSubstr("[###############...............]"), Not(HasSubstr("idle"))));
  EXPECT_EQ(Run({"memory", "--interval", "1.5"}), 0);
  EXPECT_EQ(server_.memory.watch_request.interval().seconds(), 1);
  EXPECT_EQ(server_.memory.watch_request.interval().nanos(), 500'000'000);
  EXPECT_NE(out_.find("int4"), out_.rfind("int4 / default"));
}

// gRPC's own health service answers.
TEST_F(ProgramTest, HealthTellsReadyFromAlive) {
  grpc::HealthCheckServiceInterface* const health = server_.server->GetHealthCheckService();
  health->SetServingStatus("", true);
  health->SetServingStatus("kvpareto.v1.InferenceService", true);
  EXPECT_EQ(Run({"health"}), 0);
  EXPECT_EQ(out_, "SERVING\n");
  health->SetServingStatus("kvpareto.v1.InferenceService", false);  // as a draining server does
  EXPECT_EQ(Run({"health"}), 1);
  EXPECT_THAT(err_, HasSubstr("NOT_SERVING"));
  EXPECT_EQ(Run({"health", "--live"}), 0);
  health->SetServingStatus("", false);
  EXPECT_EQ(Run({"health", "--live"}), 1);
  EXPECT_EQ(Run({"health", "--service", "no.such.Service"}), 1);
  EXPECT_THAT(err_, HasSubstr("NOT_FOUND"));
}

TEST_F(ProgramTest, CompletionKnowsEveryCommandAndFlag) {
  for (const std::string shell : {"bash", "zsh"}) {
    ASSERT_EQ(Run({"completion", shell}), 0) << err_;
    for (const Command& command : AllCommands()) {
      EXPECT_THAT(out_, HasSubstr(std::string(command.name))) << shell;
      for (const Flag& flag : command.flags) {
        EXPECT_THAT(out_, HasSubstr("-" + std::string(flag.name))) << shell;
      }
    }
  }
  EXPECT_EQ(Run({"completion", "tcsh"}), 1);
  EXPECT_THAT(err_, HasSubstr("bash or zsh"));
}

TEST_F(ProgramTest, WrongUsageAsksNothing) {
  EXPECT_EQ(Run({"generate", "--bogus", "x"}), 2);
  EXPECT_EQ(Run({"conjure"}), 2);
  EXPECT_THAT(err_, HasSubstr("no command 'conjure'"));
  EXPECT_EQ(Run({"generate", "--budget", "lots", "x"}), 1);
  EXPECT_THAT(err_, HasSubstr("--budget: 'lots' is no byte count"));
  EXPECT_EQ(Run({"generate", "--objective", "beauty", "x"}), 1);
  EXPECT_EQ(Run({"generate", "--file", "/no/such/file"}), 1);
  EXPECT_THAT(err_, HasSubstr("NOT_FOUND: cannot open /no/such/file"));
  EXPECT_EQ(Run({"generate", "--system", "s", "x"}), 1);
  EXPECT_EQ(Run({"memory", "--interval", "0"}), 1);
  EXPECT_TRUE(server_.inference.requests.empty());
}

TEST_F(ProgramTest, GlobalFlagsMayComeFirst) {
  server_.inference.count.set_tokens(3);
  EXPECT_EQ(Run({"--model", "m", "--timeout=5", "tokens", "x"}), 0) << err_;
  EXPECT_EQ(server_.inference.count_request.model(), "m");
}

TEST_F(ProgramTest, HelpNamesEveryCommandAndFlag) {
  EXPECT_EQ(Run({"--help"}), 0);
  for (const Command& command : AllCommands()) {
    EXPECT_THAT(out_, HasSubstr("\n  " + std::string(command.name)));
  }
  EXPECT_EQ(Run({"generate", "--help"}), 0);
  EXPECT_THAT(out_, AllOf(HasSubstr("--budget BYTES"), HasSubstr("  -n COUNT")));
}

TEST_F(ProgramTest, NobodyListens) {
  server_.server->Shutdown();
  EXPECT_EQ(Run({"models", "--timeout", "5"}), 1);
  EXPECT_THAT(err_, HasSubstr("UNAVAILABLE"));
}

}  // namespace
}  // namespace kvpareto::cli
