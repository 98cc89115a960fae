#include "engine/preparer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kvpareto {
namespace {

absl::Status Invalid(std::string_view reason, const std::string& message,
                     std::map<std::string, std::string> metadata = {}) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason, message, std::move(metadata));
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> Preparer::TokenizeChat(
    const std::vector<ChatMessage>& messages) const {
  if (chat_template == nullptr) {
    if (!chat_template_status->ok()) return *chat_template_status;
    return MakeError(absl::StatusCode::kFailedPrecondition, "CHAT_TEMPLATE_MISSING",
                     "this model has no chat template: send text or token ids");
  }
  const auto token_text = [this](int32_t token) {
    return token < 0 ? std::string() : std::string(tokenizer->TokenText(token));
  };
  const int32_t eos = model->eos_tokens.empty() ? -1 : model->eos_tokens.front();
  KVP_ASSIGN_OR_RETURN(std::string text,
                       chat_template->Render(messages, {.add_generation_prompt = true,
                                                        .bos_token = token_text(model->bos_token),
                                                        .eos_token = token_text(eos)}));
  // Templates write the beginning-of-sequence token themselves.
  return tokenizer->Encode(text, {.parse_special = true, .add_bos = false});
}

absl::StatusOr<std::vector<int32_t>> Preparer::Tokenize(const Prompt& prompt) const {
  if (const auto* text = std::get_if<std::string>(&prompt)) {
    return tokenizer->Encode(*text, {.parse_special = true, .add_bos = tokenizer->adds_bos()});
  }
  if (const auto* messages = std::get_if<std::vector<ChatMessage>>(&prompt)) {
    if (messages->empty()) return Invalid("EMPTY_PROMPT", "there are no messages");
    return TokenizeChat(*messages);
  }
  const auto& tokens = std::get<std::vector<int32_t>>(prompt);
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= model->vocab) {
      return Invalid("TOKEN_OUT_OF_RANGE",
                     absl::StrCat("token_ids[", i, "] is ", tokens[i],
                                  "; the vocabulary has ids 0 to ", model->vocab - 1));
    }
  }
  return tokens;
}

absl::Status Preparer::CheckLimits(const Request& request) const {
  const StoppingParams& stopping = request.stopping;
  if (request.num_sequences < 1 || request.num_sequences > options->max_sequences_per_request) {
    return Invalid("TOO_MANY_SEQUENCES",
                   absl::StrCat("n is ", request.num_sequences, "; allowed are 1 to ",
                                options->max_sequences_per_request));
  }
  if (stopping.stop_strings.size() > static_cast<size_t>(options->max_stop_strings) ||
      stopping.stop_tokens.size() > static_cast<size_t>(options->max_stop_strings)) {
    return Invalid("TOO_MANY_STOPS",
                   absl::StrCat("at most ", options->max_stop_strings,
                                " stop strings and as many stop token ids are allowed"));
  }
  for (const std::string& stop : stopping.stop_strings) {
    if (stop.empty() || stop.size() > static_cast<size_t>(options->max_stop_string_bytes)) {
      return Invalid("STOP_STRING_INVALID", absl::StrCat("a stop string has 1 to ",
                                                         options->max_stop_string_bytes, " bytes"));
    }
  }
  if (request.sampling.top_logprobs > options->max_top_logprobs) {
    return Invalid("TOO_MANY_LOGPROBS", absl::StrCat("at most ", options->max_top_logprobs,
                                                     " logprobs a token are given"));
  }
  if (request.kv.accuracy_target.has_value() &&
      !(*request.kv.accuracy_target >= 0.0 && *request.kv.accuracy_target <= 1.0)) {
    return Invalid("ACCURACY_OUT_OF_RANGE", "accuracy_target is a ratio between 0 and 1");
  }
  if (request.cache_salt.size() > kMaxCacheSaltBytes ||
      request.cache_salt.find('\0') != std::string::npos) {
    return Invalid("CACHE_SALT_INVALID", absl::StrCat("cache_salt has at most ", kMaxCacheSaltBytes,
                                                      " bytes, none of them 0"));
  }
  return request.sampling.Validate(model->vocab);
}

absl::StatusOr<int> Preparer::MaxTokens(const Request& request, int64_t prompt_tokens) const {
  int64_t room = model->context_tokens - prompt_tokens;
  const std::map<std::string, std::string> metadata = {
      {"prompt_tokens", absl::StrCat(prompt_tokens)},
      {"context_tokens", absl::StrCat(model->context_tokens)},
      {"max_tokens", absl::StrCat(request.stopping.max_tokens)}};
  if (room < 1) {
    return Invalid(
        "PROMPT_TOO_LONG",
        absl::StrCat("the prompt has ", prompt_tokens, " tokens; the model's context of ",
                     model->context_tokens, " leaves no room for an answer"),
        metadata);
  }
  if (options->max_prompt_tokens > 0 && prompt_tokens > options->max_prompt_tokens) {
    return Invalid("PROMPT_TOO_LONG",
                   absl::StrCat("the prompt has ", prompt_tokens, " tokens; this server takes ",
                                options->max_prompt_tokens),
                   metadata);
  }
  if (options->max_answer_tokens > 0) room = std::min<int64_t>(room, options->max_answer_tokens);
  if (request.stopping.max_tokens < 0) {
    return Invalid("MAX_TOKENS_INVALID", "max_tokens is negative", metadata);
  }
  if (request.stopping.max_tokens > room) {
    return Invalid(
        "MAX_TOKENS_TOO_LARGE",
        absl::StrCat("max_tokens is ", request.stopping.max_tokens, "; behind a prompt of ",
                     prompt_tokens, " tokens this server generates at most ", room),
        metadata);
  }
  if (request.stopping.max_tokens > 0) return request.stopping.max_tokens;
  return static_cast<int>(std::min<int64_t>(options->default_max_tokens, room));
}

absl::StatusOr<PreparedRequest> Preparer::Prepare(Request request) const {
  KVP_RETURN_IF_ERROR(CheckLimits(request));
  PreparedRequest prepared;
  KVP_ASSIGN_OR_RETURN(prepared.prompt_tokens, Tokenize(request.prompt));
  const int64_t prompt_tokens = prepared.prompt_tokens.size();
  if (prompt_tokens == 0) return Invalid("EMPTY_PROMPT", "the prompt is empty");
  KVP_ASSIGN_OR_RETURN(prepared.max_tokens, MaxTokens(request, prompt_tokens));

  prepared.request = std::move(request);
  prepared.request.prompt = {};  // its tokens are what is needed while it waits and runs
  KVP_RETURN_IF_ERROR(planner.PlanRequest(admission(), prepared));
  if (prepared.plan.config.prefill_chunk_tokens > options->max_step_tokens) {
    return Invalid(
        "KV_CONFIG_INVALID",
        absl::StrCat("a prefill chunk of ", prepared.plan.config.prefill_chunk_tokens,
                     " tokens exceeds this server's steps of ", options->max_step_tokens));
  }
  return prepared;
}

}  // namespace kvpareto
