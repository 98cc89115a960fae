#include "engine/text/added_tokens.h"

namespace kvpareto {
namespace {

uint64_t EdgeKey(int node, char c) {
  return (static_cast<uint64_t>(node) << 8) | static_cast<unsigned char>(c);
}

}  // namespace

void AddedTokens::Add(std::string_view text, int32_t token) {
  if (text.empty()) return;
  starts_[static_cast<unsigned char>(text[0])] = true;
  int node = 0;
  for (const char c : text) {
    const auto [it, inserted] =
        edges_.try_emplace(EdgeKey(node, c), static_cast<int>(token_of_node_.size()));
    if (inserted) token_of_node_.push_back(-1);
    node = it->second;
  }
  if (token_of_node_[node] < 0) token_of_node_[node] = token;
}

int AddedTokens::Child(int node, char c) const {
  const auto it = edges_.find(EdgeKey(node, c));
  return it == edges_.end() ? -1 : it->second;
}

AddedTokens::Match AddedTokens::Find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!starts_[static_cast<unsigned char>(text[begin])]) continue;
    Match match{begin, begin, -1};
    int node = 0;
    for (size_t i = begin; i < text.size() && (node = Child(node, text[i])) >= 0; ++i) {
      if (token_of_node_[node] >= 0) match = {begin, i + 1, token_of_node_[node]};
    }
    if (match.token >= 0) return match;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace kvpareto
