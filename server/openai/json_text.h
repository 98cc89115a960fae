// JSON values as text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kvpareto::server::openai {

// On one line; bytes that are no UTF-8 become U+FFFD.
inline std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace kvpareto::server::openai
