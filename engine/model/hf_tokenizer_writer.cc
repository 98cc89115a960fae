#include "engine/model/hf_tokenizer_writer.h"

#include <algorithm>
#include <map>
#include <utility>

namespace kvpareto {
namespace {

using PreTokenizer = TokenizerSpec::PreTokenizer;

bool IsAdded(TokenKind kind) {
  return kind == TokenKind::kSpecial || kind == TokenKind::kUserDefined ||
         kind == TokenKind::kUnknown;
}

Json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json Split(const std::string& digits) {
  const std::string regex = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + digits +
                            R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json PreTokenizerJson(PreTokenizer pre_tokenizer) {
  Json first;
  switch (pre_tokenizer) {
    case PreTokenizer::kGpt2:
      return ByteLevel(true);
    case PreTokenizer::kSmolLm:
      first = {{"type", "Digits"}, {"individual_digits", true}};
      break;
    case PreTokenizer::kQwen2:
      first = Split(R"(\p{N})");
      break;
    case PreTokenizer::kLlama3:
      first = Split(R"(\p{N}{1,3})");
      break;
  }
  return {
      {"type", "Sequence"},
      {"pretokenizers", Json::array({first, ByteLevel(pre_tokenizer == PreTokenizer::kSmolLm)})}};
}

Json SentencePieceNormalizer(bool add_space_prefix) {
  Json steps = Json::array();
  if (add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", "▁"}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "▁"}});
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

// A SentencePiece vocabulary's merges: every way to cut a piece into two, best piece first.
std::vector<std::pair<std::string, std::string>> MergesOf(const TokenizerSpec& spec) {
  if (spec.model == TokenizerSpec::Model::kByteLevelBpe) return spec.merges;
  std::map<std::string, float> scores;
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.kinds[id] == TokenKind::kNormal) scores[spec.tokens[id]] = spec.scores[id];
  }
  std::vector<std::pair<float, std::pair<std::string, std::string>>> ranked;
  for (const auto& [piece, score] : scores) {
    for (size_t cut = 1; cut < piece.size(); ++cut) {
      const std::string left = piece.substr(0, cut), right = piece.substr(cut);
      if (scores.contains(left) && scores.contains(right))
        ranked.push_back({-score, {left, right}});
    }
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::pair<std::string, std::string>> merges;
  for (const auto& [rank, merge] : ranked) merges.push_back(merge);
  return merges;
}

Json BpeModel(const TokenizerSpec& spec) {
  Json vocab = Json::object(), merges = Json::array();
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (spec.kinds[id] != TokenKind::kUnused) vocab[spec.tokens[id]] = id;
  }
  for (const auto& [left, right] : MergesOf(spec)) {
    merges.push_back(left + " " + right);
  }
  const bool byte_level = spec.model == TokenizerSpec::Model::kByteLevelBpe;
  Json model = {{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}};
  if (!byte_level && spec.unknown_token >= 0) model["unk_token"] = spec.tokens[spec.unknown_token];
  model["fuse_unk"] = !byte_level;
  model["byte_fallback"] = spec.byte_fallback;
  model["ignore_merges"] = spec.ignore_merges;
  model["vocab"] = vocab;
  model["merges"] = merges;
  return model;
}

Json AddedTokens(const TokenizerSpec& spec) {
  Json added = Json::array();
  for (size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!IsAdded(spec.kinds[id])) continue;
    added.push_back({{"id", id},
                     {"content", spec.tokens[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", spec.kinds[id] != TokenKind::kUserDefined}});
  }
  return added;
}

// Puts the first token of every sequence there.
Json BosProcessor(const TokenizerSpec& spec) {
  const std::string bos = spec.tokens[spec.bos_token];
  const Json first = {{"SpecialToken", {{"id", bos}, {"type_id", 0}}}};
  const auto sequence = [](const char* id) -> Json {
    return {{"Sequence", {{"id", id}, {"type_id", 0}}}};
  };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({first, sequence("A")})},
          {"pair", Json::array({first, sequence("A"), first, sequence("B")})},
          {"special_tokens",
           {{bos, {{"id", bos}, {"ids", {spec.bos_token}}, {"tokens", Json::array({bos})}}}}}};
}

Json SentencePieceDecoder(bool add_space_prefix) {
  Json steps = Json::array({{{"type", "Replace"}, {"pattern", {{"String", "▁"}}}, {"content", " "}},
                            {{"type", "ByteFallback"}},
                            {{"type", "Fuse"}}});
  if (add_space_prefix) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace

Json HfTokenizerJson(const TokenizerSpec& spec) {
  const bool byte_level = spec.model == TokenizerSpec::Model::kByteLevelBpe;
  Json json = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  json["added_tokens"] = AddedTokens(spec);
  json["normalizer"] = nullptr;
  if (!byte_level) json["normalizer"] = SentencePieceNormalizer(spec.add_space_prefix);
  if (spec.normalize_nfc) json["normalizer"] = {{"type", "NFC"}};
  json["pre_tokenizer"] = nullptr;
  if (byte_level) json["pre_tokenizer"] = PreTokenizerJson(spec.pre_tokenizer);
  json["post_processor"] = nullptr;
  if (spec.add_bos && spec.bos_token >= 0) json["post_processor"] = BosProcessor(spec);
  json["decoder"] = byte_level ? ByteLevel(true) : SentencePieceDecoder(spec.add_space_prefix);
  json["model"] = BpeModel(spec);
  return json;
}

Json HfTokenizerConfig(const TokenizerSpec& spec, const std::vector<int32_t>& eos_tokens,
                       const std::string& chat_template) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"add_bos_token", spec.add_bos}};
  if (spec.bos_token >= 0) config["bos_token"] = spec.tokens[spec.bos_token];
  if (spec.unknown_token >= 0) config["unk_token"] = spec.tokens[spec.unknown_token];
  if (!eos_tokens.empty()) config["eos_token"] = spec.tokens[eos_tokens[0]];
  if (!chat_template.empty()) config["chat_template"] = chat_template;
  return config;
}

}  // namespace kvpareto
