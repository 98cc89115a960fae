#include "clients/cli/request.h"

#include <fstream>
#include <istream>
#include <iterator>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "clients/cli/units.h"

namespace kvpareto::cli {
namespace {

absl::Status BuildKv(const Args& args, v1::KvOptions* kv) {
  if (args.Has("budget")) {
    const absl::StatusOr<uint64_t> bytes = ParseBytes(args.Text("budget"));
    if (!bytes.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--budget: ", bytes.status().message()));
    }
    kv->set_memory_budget_bytes(*bytes);
  }
  double accuracy = 0.0;
  if (absl::Status status = args.Read("accuracy", &accuracy); !status.ok()) return status;
  if (args.Has("accuracy")) kv->set_accuracy_target(accuracy);
  const std::string objective = args.Text("objective");
  if (objective == "accuracy") {
    kv->set_objective(v1::OBJECTIVE_ACCURACY);
  } else if (objective == "memory") {
    kv->set_objective(v1::OBJECTIVE_MEMORY);
  } else if (objective == "speed") {
    kv->set_objective(v1::OBJECTIVE_SPEED);
  } else if (!objective.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--objective ", objective, ": expected accuracy, memory or speed"));
  }
  kv->set_pinned_config(args.Text("config"));
  return absl::OkStatus();
}

// Reads one flag and, if it is there, hands its value to the message's setter.
template <typename T, typename Message, typename Field>
absl::Status Set(const Args& args, std::string_view flag, Message* message,
                 void (Message::*setter)(Field)) {
  if (!args.Has(flag)) return absl::OkStatus();
  T value{};
  if (absl::Status status = args.Read(flag, &value); !status.ok()) return status;
  (message->*setter)(static_cast<Field>(value));
  return absl::OkStatus();
}

absl::Status BuildSampling(const Args& args, v1::SamplingOptions* sampling) {
  using S = v1::SamplingOptions;
  for (const absl::Status& status :
       {Set<double>(args, "temperature", sampling, &S::set_temperature),
        Set<int32_t>(args, "top-k", sampling, &S::set_top_k),
        Set<double>(args, "top-p", sampling, &S::set_top_p),
        Set<double>(args, "min-p", sampling, &S::set_min_p),
        Set<double>(args, "repetition-penalty", sampling, &S::set_repetition_penalty),
        Set<double>(args, "presence-penalty", sampling, &S::set_presence_penalty),
        Set<double>(args, "frequency-penalty", sampling, &S::set_frequency_penalty),
        Set<uint64_t>(args, "seed", sampling, &S::set_seed)}) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadAll(std::istream& in, const std::string& name) {
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (in.bad()) return absl::UnavailableError(absl::StrCat("cannot read ", name));
  return text;
}

absl::StatusOr<std::string> PromptText(const Args& args, Console& console) {
  const std::string file = args.Text("file");
  if (!args.words().empty() && !file.empty()) {
    return absl::InvalidArgumentError("give the prompt as words or with --file, not both");
  }
  if (!file.empty() && file != "-") {
    std::ifstream in(file, std::ios::binary);
    if (!in) return absl::NotFoundError(absl::StrCat("cannot open ", file));
    return ReadAll(in, file);
  }
  if (!args.words().empty() && args.words() != std::vector<std::string>{"-"}) {
    return absl::StrJoin(args.words(), " ");
  }
  if (console.input_is_terminal) console.err << "prompt (end with Ctrl-D):\n";
  return ReadAll(console.in, "standard input");
}

}  // namespace

std::vector<Flag> RequestFlags() {
  return {
      {"budget", "BYTES", "most memory the request may take, for example 64MiB"},
      {"accuracy", "SHARE", "least agreement with the bf16 cache, for example 0.99"},
      {"objective", "WHAT", "among what qualifies prefer accuracy, memory or speed"},
      {"config", "NAME|TEXT", "use this KV config instead of choosing one"},
      {"class", "NAME", "service class"},
      {"cache-salt", "TEXT", "share the prompt's cache with requests of this salt only"},
      {"no-prefix-cache", "", "do not share the prompt's cache at all"},
      {"max-tokens", "COUNT", "tokens to generate at most"},
      {"temperature", "VALUE", "0 (default): greedy"},
      {"top-k", "COUNT", "keep the likeliest tokens"},
      {"top-p", "SHARE", "keep the likeliest tokens that sum up to this"},
      {"min-p", "SHARE", "drop tokens below this share of the likeliest"},
      {"repetition-penalty", "VALUE", "1: off"},
      {"presence-penalty", "VALUE", "0: off"},
      {"frequency-penalty", "VALUE", "0: off"},
      {"seed", "NUMBER", "of the random numbers"},
      {"stop", "TEXT", "end before this text; may be repeated"},
      {"ignore-eos", "", "go on after the end-of-text token"},
  };
}

std::vector<Flag> PromptFlags() {
  return {
      {"file", "PATH", "read the prompt from a file; -: standard input"},
      {"chat", "", "the prompt is a user's message: apply the chat template"},
      {"system", "TEXT", "system message of the chat"},
  };
}

std::vector<Flag> Join(std::vector<Flag> a, const std::vector<Flag>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

absl::StatusOr<v1::GenerateRequest> BuildRequest(const Args& args, const std::string& model) {
  v1::GenerateRequest request;
  request.set_model(model);
  request.set_service_class(args.Text("class"));
  request.mutable_prefix_cache()->set_salt(args.Text("cache-salt"));
  request.mutable_prefix_cache()->set_disabled(args.Has("no-prefix-cache"));
  if (absl::Status status = BuildKv(args, request.mutable_kv()); !status.ok()) return status;
  if (absl::Status status = BuildSampling(args, request.mutable_sampling()); !status.ok()) {
    return status;
  }
  v1::StoppingOptions* stopping = request.mutable_stopping();
  for (const std::string& text : args.All("stop")) stopping->add_stop_strings(text);
  stopping->set_ignore_eos(args.Has("ignore-eos"));
  if (absl::Status status =
          Set<int32_t>(args, "max-tokens", stopping, &v1::StoppingOptions::set_max_tokens);
      !status.ok()) {
    return status;
  }
  v1::ResponseOptions* response = request.mutable_response();
  for (const absl::Status& status :
       {Set<int32_t>(args, "n", response, &v1::ResponseOptions::set_sequences),
        Set<int32_t>(args, "logprobs", response, &v1::ResponseOptions::set_top_logprobs)}) {
    if (!status.ok()) return status;
  }
  return request;
}

absl::StatusOr<v1::Prompt> ReadPrompt(const Args& args, Console& console) {
  absl::StatusOr<std::string> text = PromptText(args, console);
  if (!text.ok()) return text.status();
  v1::Prompt prompt;
  if (!args.Has("chat")) {
    if (args.Has("system")) return absl::InvalidArgumentError("--system needs --chat");
    prompt.set_text(*std::move(text));
    return prompt;
  }
  const auto add = [&](const char* role, std::string content) {
    v1::ChatMessage* message = prompt.mutable_messages()->add_messages();
    message->set_role(role);
    message->set_content(std::move(content));
  };
  if (args.Has("system")) add("system", args.Text("system"));
  add("user", *std::move(text));
  return prompt;
}

}  // namespace kvpareto::cli
