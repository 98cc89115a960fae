// Stop strings over streamed text: holds back what might be the beginning of one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvpareto {

// The stop string that is completed first in the stream wins; of several completed by the same
// byte, the longest. The result does not depend on how the text is cut into deltas. Time is linear
// in the text (times the number of stop strings).
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);  // empty strings are ignored
  // Feeds a text delta; appends to `out` what can no longer be part of a stop string. True when a
  // stop string was completed: the text before it has been appended, the stop string itself and
  // everything after it are dropped.
  bool Push(std::string_view delta, std::string& out);
  // The held-back text at the end of the stream; "" after a stop.
  std::string Flush();

 private:
  // Knuth-Morris-Pratt: how far into `text` the stream's end has got.
  struct Matcher {
    std::string text;
    std::vector<size_t> border;  // [i]: longest proper prefix of text[0..i] that is its suffix too
    size_t matched = 0;

    void Advance(char c);
  };

  std::vector<Matcher> matchers_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace kvpareto
