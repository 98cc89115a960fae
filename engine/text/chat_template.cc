#include "engine/text/chat_template.h"

#include <utility>
#include <vector>

#include "engine/text/jinja_evaluator.h"
#include "engine/text/jinja_parser.h"
#include "engine/text/tokenizer.h"

namespace kvpareto {
namespace {

using jinja::Value;

class JinjaChatTemplate final : public ChatTemplate {
 public:
  explicit JinjaChatTemplate(jinja::Body body) : body_(std::move(body)) {}

  absl::StatusOr<std::string> Render(std::span<const ChatMessage> messages,
                                     const RenderOptions& options) const override {
    std::vector<Value> items;
    for (const ChatMessage& message : messages) {
      if (!IsValidUtf8(message.role) || !IsValidUtf8(message.content)) {
        return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_UTF8",
                         "a chat message is not valid UTF-8");
      }
      KVP_ASSIGN_OR_RETURN(Value item,
                           jinja::MakeDict({{"role", Value::String(message.role)},
                                            {"content", Value::String(message.content)}}));
      items.push_back(std::move(item));
    }
    KVP_ASSIGN_OR_RETURN(Value list, jinja::MakeList(std::move(items)));
    return jinja::Evaluator({{"messages", std::move(list)},
                             {"tools", Value::MakeNone()},
                             {"documents", Value::MakeNone()},
                             {"add_generation_prompt", Value::Bool(options.add_generation_prompt)},
                             {"bos_token", Value::String(options.bos_token)},
                             {"eos_token", Value::String(options.eos_token)}})
        .Render(body_);
  }

 private:
  jinja::Body body_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(const std::string& source) {
  if (!IsValidUtf8(source)) return jinja::Unsupported("a template that is not UTF-8");
  KVP_ASSIGN_OR_RETURN(jinja::Body body, jinja::ParseTemplate(source));
  return std::make_unique<JinjaChatTemplate>(std::move(body));
}

}  // namespace kvpareto
