// engine_bench MODEL [--threads N] [--max-step-tokens N] [--calibration FILE]: times requests on
// the engine, through Submit, as a server would. Takes commands from standard input, one a line,
// and answers each with a line of JSON, so that a script can take turns with another engine:
//
//   open REQUESTS PROMPT_TOKENS DECODE_TOKENS CONFIG...   prefills and holds; each may decode so
//   many
//        {"prefill_seconds": of all prompts}              (early ones do while the others prefill)
//   decode TOKENS                                         decodes so many of every open request
//        {"seconds": ...}
//   close                                                 {"kv_bytes": peak, "peak_rss_bytes": ...}
//   codecs                                                {"codecs": [names]}
//
// The first line says what computes: {"backend": ...}. What cannot be done: {"error": why}.
#include <sys/resource.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "engine/engine.h"
#include "engine/kv/codec.h"
#include "tests/bench/held_requests.h"

namespace kvpareto {
namespace {

constexpr uint64_t kKvCapacityBytes = uint64_t{8} << 30;  // untouched pages cost nothing
constexpr int kMaxStepTokens = 4096;                      // the largest chunk of a KV config

absl::StatusOr<EngineOptions> ParseArguments(int argc, char** argv) {
  EngineOptions options;
  options.kv_capacity_bytes = kKvCapacityBytes;
  options.max_step_tokens = kMaxStepTokens;
  const std::map<std::string, int*> numbers = {{"--threads", &options.threads},
                                               {"--max-step-tokens", &options.max_step_tokens}};
  if (argc < 2 || argc % 2 != 0) {
    return absl::InvalidArgumentError(
        "usage: engine_bench MODEL [--threads N] [--max-step-tokens N] [--calibration FILE]");
  }
  options.model_path = argv[1];
  for (int i = 2; i < argc; i += 2) {
    const auto number = numbers.find(argv[i]);
    if (number != numbers.end()) {
      *number->second = std::atoi(argv[i + 1]);
    } else if (std::string(argv[i]) == "--calibration") {
      options.calibration_path = argv[i + 1];
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag ", argv[i]));
    }
  }
  return options;
}

uint64_t PeakResidentBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return uint64_t{1024} * usage.ru_maxrss;
}

std::string CodecNames() {
  std::vector<std::string> names;
  for (int i = 0; i < kv::NumCodecs(); ++i) {
    const std::string name(kv::GetCodecInfo(static_cast<kv::CodecId>(i)).name);
    names.push_back(absl::StrCat("\"", name, "\""));
  }
  return absl::StrJoin(names, ", ");
}

class Commands {
 public:
  explicit Commands(Engine* engine) : engine_(engine) {}

  // Returns the answer, a JSON object.
  absl::StatusOr<std::string> Run(const std::string& line) {
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name == "open") return Open(words);
    if (name == "decode") return Decode(words);
    if (name == "close") return Close();
    if (name == "codecs") return absl::StrCat("{\"codecs\": [", CodecNames(), "]}");
    return absl::InvalidArgumentError(absl::StrCat("unknown command ", name));
  }

 private:
  absl::StatusOr<std::string> Open(std::istringstream& words) {
    HeldRequestsOptions options;
    int decode_tokens = 0;
    words >> options.requests >> options.prompt_tokens >> decode_tokens >> std::ws;
    if (!words) return absl::InvalidArgumentError("open takes three numbers and a config");
    std::getline(words, options.config);
    options.max_tokens = decode_tokens + kTokensBesides;
    open_.reset();
    KVP_ASSIGN_OR_RETURN(open_, HeldRequests::Start(options, engine_));
    return absl::StrCat("{\"prefill_seconds\": ", open_->prefill_seconds(), "}");
  }

  absl::StatusOr<std::string> Decode(std::istringstream& words) {
    int tokens = 0;
    if (!(words >> tokens) || open_ == nullptr) {
      return absl::InvalidArgumentError("decode takes a number, after open");
    }
    KVP_ASSIGN_OR_RETURN(const double seconds, open_->Decode(tokens));
    return absl::StrCat("{\"seconds\": ", seconds, "}");
  }

  absl::StatusOr<std::string> Close() {
    if (open_ == nullptr) return absl::InvalidArgumentError("nothing is open");
    const uint64_t kv_bytes = open_->Finish();
    open_.reset();
    return absl::StrCat("{\"kv_bytes\": ", kv_bytes, ", \"peak_rss_bytes\": ", PeakResidentBytes(),
                        "}");
  }

  // The first token comes from prefill, and no request may end while it is measured.
  static constexpr int kTokensBesides = 2;

  Engine* const engine_;
  std::unique_ptr<HeldRequests> open_;
};

std::string ErrorJson(const absl::Status& status) {
  return absl::StrCat("{\"error\": \"",
                      absl::StrReplaceAll(status.message(), {{"\\", "\\\\"}, {"\"", "'"}}), "\"}");
}

absl::Status Run(int argc, char** argv) {
  KVP_ASSIGN_OR_RETURN(const EngineOptions options, ParseArguments(argc, argv));
  KVP_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine, Engine::Create(options));
  std::cout << "{\"backend\": \"" << engine->model().backend
            << "\", \"weights_bytes\": " << engine->model().weights_bytes
            << ", \"context_tokens\": " << engine->model().config.context_tokens << "}"
            << std::endl;
  Commands commands(engine.get());
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<std::string> answer = commands.Run(line);
    std::cout << (answer.ok() ? *answer : ErrorJson(answer.status())) << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace kvpareto

int main(int argc, char** argv) {
  const absl::Status status = kvpareto::Run(argc, argv);
  if (!status.ok()) std::cerr << "engine_bench: " << status.ToString() << "\n";
  return status.ok() ? 0 : 1;
}
