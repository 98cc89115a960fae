#include "autotuner/text_windows.h"

namespace kvpareto::tune {

absl::StatusOr<std::vector<std::vector<int32_t>>> CutWindows(const Engine& engine,
                                                             const std::string& text, int count,
                                                             int64_t tokens) {
  KVP_ASSIGN_OR_RETURN(const std::vector<int32_t> all, engine.Tokenize(text));
  const int32_t bos = engine.model().config.bos_token;
  const int64_t bos_tokens = bos >= 0 && !all.empty() && all.front() == bos ? 1 : 0;
  const int64_t available = static_cast<int64_t>(all.size()) - bos_tokens;
  const int64_t needed = tokens - bos_tokens;
  if (available < count * needed) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TEXT_TOO_SHORT",
                     "the text has " + std::to_string(available) + " tokens; " +
                         std::to_string(count) + " windows of " + std::to_string(tokens) +
                         " need " + std::to_string(count * needed),
                     {{"tokens", std::to_string(available)}});
  }
  std::vector<std::vector<int32_t>> windows;
  for (int w = 0; w < count; ++w) {
    const auto begin = all.begin() + bos_tokens + available / count * w;
    std::vector<int32_t> window(all.begin(), all.begin() + bos_tokens);
    window.insert(window.end(), begin, begin + needed);
    windows.push_back(std::move(window));
  }
  return windows;
}

}  // namespace kvpareto::tune
