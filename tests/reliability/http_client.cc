#include <nlohmann/json.hpp>

#include "tests/reliability/clients.h"
#include "tests/reliability/loopback.h"

namespace kvpareto::reliability {
namespace {

using nlohmann::json;

std::string RequestText(const CallSpec& spec) {
  json body = {{"prompt", PromptOf(spec)},
               {"max_tokens", spec.max_tokens},
               {"ignore_eos", true},
               {"temperature", 0},
               {"stream", true}};
  if (spec.much_output) body["logprobs"] = 20;
  const std::string text = body.dump();
  return "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
         std::to_string(text.size()) + "\r\n\r\n" + text;
}

// A completion as server-sent events, over a plain socket. The answer is read as text: what is
// asked of it stands in its lines.
class Completion final : public Call {
 public:
  explicit Completion(int port, const CallSpec& spec)
      : fd_(ConnectTo(port, spec.much_output ? 4096 : 0)) {
    const std::string request = RequestText(spec);
    KVP_CHECK(::send(fd_, request.data(), request.size(), MSG_NOSIGNAL) ==
              static_cast<ssize_t>(request.size()));
  }
  ~Completion() override { ::close(fd_); }

  // HTTP/1.1 knows no other way than to go.
  void Cancel() override {
    cancelled_ = true;
    ::shutdown(fd_, SHUT_RDWR);
  }
  void Kill() override {
    killed_ = true;
    ::shutdown(fd_, SHUT_RDWR);
  }
  std::string Finish() override {
    if (killed_) return "GONE";
    if (cancelled_) return "CANCELLED";
    const std::string answer = ReadAll();
    std::string reason = "TRUNCATED";
    for (size_t begin = 0; begin < answer.size();) {
      const size_t end = std::min(answer.find('\n', begin), answer.size());
      Take(answer.substr(begin, end - begin), &reason);
      begin = end + 1;
    }
    return reason;
  }
  const std::string& text() const override { return text_; }

 private:
  std::string ReadAll() const {
    std::string all;
    char part[4096];
    for (ssize_t n; (n = ::recv(fd_, part, sizeof(part), 0)) > 0;) all.append(part, n);
    return all;
  }

  // A line of the answer: an event, or a body that is an error.
  void Take(std::string line, std::string* reason) {
    if (line == "data: [DONE]") *reason = "OK";
    const size_t brace = line.find('{');
    if (brace == std::string::npos) return;
    const json event = json::parse(line.substr(brace), nullptr, /*allow_exceptions=*/false);
    if (!event.is_object()) return;
    if (event.contains("error")) *reason = event["error"]["code"];
    if (event.contains("choices") && !event["choices"].empty()) {
      text_ += event["choices"][0]["text"].get<std::string>();
    }
  }

  const int fd_;
  std::string text_;
  bool cancelled_ = false, killed_ = false;
};

}  // namespace

std::unique_ptr<Call> HttpCall(int http_port, const CallSpec& spec) {
  return std::make_unique<Completion>(http_port, spec);
}

}  // namespace kvpareto::reliability
