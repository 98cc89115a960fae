#include "autotuner/tasks/task_prompt.h"

#include <span>
#include <utility>

namespace kvpareto::tune {
namespace {

bool BeginsWithBos(const Engine& engine, const std::vector<int32_t>& tokens) {
  const int32_t bos = engine.model().config.bos_token;
  return bos >= 0 && !tokens.empty() && tokens.front() == bos;
}

}  // namespace

absl::StatusOr<std::string> TruncateMiddle(const Engine& engine, const std::string& text,
                                           int64_t max_tokens) {
  KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> tokens, engine.Tokenize(text));
  if (std::ssize(tokens) <= max_tokens) return text;
  const std::span<const int32_t> all(tokens);
  const size_t half = max_tokens / 2;
  const size_t bos = half > 0 && BeginsWithBos(engine, tokens) ? 1 : 0;
  return engine.Detokenize(all.subspan(bos, half - bos)) + engine.Detokenize(all.last(half));
}

absl::StatusOr<std::vector<int32_t>> TokenizeContinuation(const Engine& engine,
                                                          const std::string& text) {
  KVP_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, engine.Tokenize(text));
  if (BeginsWithBos(engine, tokens)) tokens.erase(tokens.begin());
  return tokens;
}

absl::StatusOr<std::vector<int32_t>> MakePrompt(const Engine& engine, const std::string& user,
                                                bool chat, const std::string& answer_prefix) {
  if (!chat) return engine.Tokenize(user + answer_prefix);
  std::vector<ChatMessage> messages{{.role = "user", .content = user}};
  KVP_ASSIGN_OR_RETURN(std::vector<int32_t> tokens, engine.Tokenize(std::move(messages)));
  KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> begun,
                       TokenizeContinuation(engine, answer_prefix));
  tokens.insert(tokens.end(), begun.begin(), begun.end());
  return tokens;
}

}  // namespace kvpareto::tune
