#include "engine/text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace kvpareto {

StopStrings::StopStrings(std::vector<std::string> stops) {
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    Matcher matcher{std::move(stop), {}, 0};
    matcher.border.assign(matcher.text.size(), 0);
    for (size_t i = 1, length = 0; i < matcher.text.size(); ++i) {
      while (length > 0 && matcher.text[i] != matcher.text[length]) {
        length = matcher.border[length - 1];
      }
      if (matcher.text[i] == matcher.text[length]) ++length;
      matcher.border[i] = length;
    }
    matchers_.push_back(std::move(matcher));
  }
}

void StopStrings::Matcher::Advance(char c) {
  while (matched > 0 && text[matched] != c) matched = border[matched - 1];
  if (text[matched] == c) ++matched;
}

bool StopStrings::Push(std::string_view delta, std::string& out) {
  if (stopped_) return true;
  for (size_t i = 0; i < delta.size(); ++i) {
    size_t completed_bytes = 0;
    for (Matcher& matcher : matchers_) {
      matcher.Advance(delta[i]);
      if (matcher.matched == matcher.text.size()) {
        completed_bytes = std::max(completed_bytes, matcher.matched);
      }
    }
    if (completed_bytes == 0) continue;
    held_ += delta.substr(0, i + 1);
    out.append(held_, 0, held_.size() - completed_bytes);
    held_.clear();
    stopped_ = true;
    return true;
  }
  held_ += delta;
  size_t keep_bytes = 0;
  for (const Matcher& matcher : matchers_) keep_bytes = std::max(keep_bytes, matcher.matched);
  const size_t release_bytes = held_.size() - keep_bytes;
  out.append(held_, 0, release_bytes);
  held_.erase(0, release_bytes);
  return false;
}

std::string StopStrings::Flush() { return std::exchange(held_, {}); }

}  // namespace kvpareto
