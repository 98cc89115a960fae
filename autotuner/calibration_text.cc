#include "autotuner/calibration_text.h"

#include <algorithm>

#include "autotuner/sha256.h"

namespace kvpareto::tune {
namespace {

struct Source {
  std::vector<int32_t> tokens;  // without BOS
  size_t used = 0;
};

std::string Describe(const NamedText& text, size_t tokens) {
  return text.name + " (sha256 " + Sha256Hex(text.text) + "), first " + std::to_string(tokens) +
         " tokens";
}

}  // namespace

absl::StatusOr<TextPieces> CutPieces(const Engine& engine, const std::vector<NamedText>& texts,
                                     int64_t tokens, int64_t piece_tokens) {
  const int32_t bos = engine.model().config.bos_token;
  std::vector<int32_t> start;
  std::vector<Source> sources;
  for (const NamedText& text : texts) {
    auto all = engine.Tokenize(text.text);
    if (!all.ok()) return Annotate(all.status(), text.name);
    if (bos >= 0 && !all->empty() && all->front() == bos) {
      start = {bos};
      all->erase(all->begin());
    }
    sources.push_back({.tokens = *std::move(all)});
  }

  TextPieces result;
  const int64_t share = (tokens + texts.size() - 1) / std::max<int64_t>(1, texts.size());
  const int64_t length = std::min(piece_tokens, share);
  const int64_t head = start.size();
  for (bool more = true; more;) {
    more = false;
    for (Source& source : sources) {
      const int64_t left = source.tokens.size() - source.used;
      const int64_t take = std::min({length - head, left, tokens - result.tokens - head});
      if (take <= 0) continue;
      std::vector<int32_t> piece = start;
      const auto from = source.tokens.begin() + source.used;
      piece.insert(piece.end(), from, from + take);
      source.used += take;
      result.tokens += head + take;
      result.pieces.push_back(std::move(piece));
      more = true;
    }
  }
  if (result.tokens < kMinCalibrationTokens) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TEXT_TOO_SHORT",
                     "calibration needs at least " + std::to_string(kMinCalibrationTokens) +
                         " tokens, not " + std::to_string(result.tokens),
                     {{"tokens", std::to_string(result.tokens)}});
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    result.description += (i > 0 ? "; " : "") + Describe(texts[i], sources[i].used);
  }
  return result;
}

}  // namespace kvpareto::tune
