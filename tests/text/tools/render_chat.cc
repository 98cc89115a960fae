// Renders chat templates.
//
// Reads one JSON object per line from standard input ("template", "messages", and optionally
// "add_generation_prompt", "bos_token", "eos_token") and writes one JSON object per line: "text",
// or "error" (the reason) with "message".
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/chat_template.h"

namespace kvpareto {
namespace {

absl::StatusOr<std::string> Render(const nlohmann::json& input) {
  KVP_ASSIGN_OR_RETURN(const auto chat_template,
                       ChatTemplate::Parse(input.at("template").get<std::string>()));
  std::vector<ChatMessage> messages;
  for (const auto& message : input.at("messages")) {
    messages.push_back({message.at("role"), message.at("content")});
  }
  ChatTemplate::RenderOptions options;
  options.add_generation_prompt = input.value("add_generation_prompt", true);
  options.bos_token = input.value("bos_token", "");
  options.eos_token = input.value("eos_token", "");
  return chat_template->Render(messages, options);
}

}  // namespace
}  // namespace kvpareto

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto text = kvpareto::Render(nlohmann::json::parse(line));
    nlohmann::json output;
    if (text.ok()) {
      output["text"] = *text;
    } else {
      const auto info = kvpareto::GetErrorInfo(text.status());
      output["error"] = info ? info->reason : "";
      output["message"] = std::string(text.status().message());
    }
    std::cout << output.dump() << "\n";
  }
}
