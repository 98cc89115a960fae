// Chat messages to a prompt, by the model's own template.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "engine/base/status.h"

namespace kvpareto {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

// A parsed template (the subset of Jinja that shipped models use). Immutable and thread-safe.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // Errors: UNIMPLEMENTED (CHAT_TEMPLATE_UNSUPPORTED, metadata "construct") naming the first
  // construct that is not understood: never a wrong prompt.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Parse(const std::string& source);

  struct RenderOptions {
    bool add_generation_prompt = true;
    std::string bos_token;
    std::string eos_token;
  };
  // Errors: INVALID_ARGUMENT with the template's own raise_exception text, or
  // (CHAT_TEMPLATE_FAILED) when it reads something undefined. Output and loop steps are bounded.
  virtual absl::StatusOr<std::string> Render(std::span<const ChatMessage> messages,
                                             const RenderOptions& options) const = 0;
};

}  // namespace kvpareto
