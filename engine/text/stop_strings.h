// Stop strings over streamed text: holds back what might be the beginning of one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvpareto {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);
  // Feeds a text delta; appends to `out` what can no longer be part of a stop string. True when a
  // stop string was completed: the text before it has been appended, the stop string itself is
  // dropped.
  bool Push(std::string_view delta, std::string& out);
  // The held-back text at the end of the stream.
  std::string Flush();

 private:
  std::vector<std::string> stops_;
  std::string held_;
};

}  // namespace kvpareto
