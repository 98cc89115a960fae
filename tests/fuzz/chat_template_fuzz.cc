// A template and the contents of a system's, a user's and an assistant's message.
#include "engine/text/chat_template.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::ChatTemplate(std::string_view input) {
  const std::vector<std::string> parts = Parts(input, 4);
  const auto chat = kvpareto::ChatTemplate::Parse(parts[0]);
  CheckRefusal(chat.status());
  if (!chat.ok()) return;
  const std::vector<ChatMessage> messages = {
      {"system", parts[1]}, {"user", parts[2]}, {"assistant", parts[3]}};
  CheckRefusal((*chat)->Render(messages, {.bos_token = "<s>", .eos_token = "</s>"}).status());
}
