// server_bench ADDRESS REQUESTS PROMPT_TOKENS TOKENS CONFIG: sends so many Generate requests at
// once, each with another prompt of pseudo-random tokens and the KV config pinned, and prints
// {"tokens": of all prompts and answers, "seconds": until the last has ended}.
#include <grpcpp/create_channel.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <iostream>
#include <string>
#include <vector>

#include "kvpareto/v1/inference.grpc.pb.h"

namespace kvpareto {
namespace {

constexpr int kVocab = 32000;  // ids below this: every model has them

struct Load {
  int requests = 0;
  int prompt_tokens = 0;
  int tokens = 0;
  std::string config;
};

v1::GenerateRequest MakeRequest(const Load& load, int index) {
  v1::GenerateRequest request;
  for (int i = 0; i < load.prompt_tokens; ++i) {
    const int64_t id = (int64_t{7919} * i + 13 + 101 * index) % kVocab;
    request.mutable_prompt()->mutable_token_ids()->add_ids(static_cast<int32_t>(id));
  }
  request.mutable_stopping()->set_max_tokens(load.tokens);
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_kv()->set_pinned_config(load.config);
  return request;
}

// Returns the tokens computed: of the prompt and of the answer.
int64_t Generate(v1::InferenceService::Stub& stub, const v1::GenerateRequest& request) {
  grpc::ClientContext context;
  const auto reader = stub.Generate(&context, request);
  int64_t tokens = 0;
  for (v1::GenerateResponse response; reader->Read(&response);) {
    const v1::Usage& usage = response.result().usage();
    tokens += usage.prompt_tokens() + usage.generated_tokens();
  }
  if (const grpc::Status status = reader->Finish(); !status.ok()) {
    std::cerr << "server_bench: " << status.error_message() << "\n";
    std::exit(1);
  }
  return tokens;
}

void Run(const std::string& address, const Load& load) {
  const auto stub = v1::InferenceService::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  std::vector<std::future<int64_t>> answers;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < load.requests; ++i) {
    answers.push_back(std::async(std::launch::async, [&stub, request = MakeRequest(load, i)] {
      return Generate(*stub, request);
    }));
  }
  int64_t tokens = 0;
  for (std::future<int64_t>& answer : answers) tokens += answer.get();
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  std::printf("{\"tokens\": %lld, \"seconds\": %.6f}\n", static_cast<long long>(tokens),
              elapsed.count());
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: server_bench ADDRESS REQUESTS PROMPT_TOKENS TOKENS CONFIG\n";
    return 2;
  }
  kvpareto::Run(argv[1], {.requests = std::atoi(argv[2]),
                          .prompt_tokens = std::atoi(argv[3]),
                          .tokens = std::atoi(argv[4]),
                          .config = argv[5]});
  return 0;
}
