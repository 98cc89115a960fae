#include "autotuner/text_file.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace kvpareto::tune {
namespace {

// More than any token's length on average: what is cut off behind it is not needed.
constexpr int64_t kBytesPerToken = 16;

bool ContinuesCharacter(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

std::string CutOnCharacters(const std::string& text, size_t begin, size_t size) {
  begin = std::min(begin, text.size());
  while (begin < text.size() && ContinuesCharacter(text[begin])) ++begin;
  size_t end = std::min(begin + size, text.size());
  while (end < text.size() && ContinuesCharacter(text[end])) ++end;
  return text.substr(begin, end - begin);
}

}  // namespace

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream content;
  if (!in || !(content << in.rdbuf())) {
    return MakeError(absl::StatusCode::kNotFound, "FILE_NOT_READABLE", "cannot read " + path,
                     {{"path", path}});
  }
  return content.str();
}

absl::Status WriteTextFile(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary);
  out << content;
  out.close();
  if (out) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInternal, "FILE_NOT_WRITABLE", "cannot write " + path,
                   {{"path", path}});
}

std::string JoinLines(std::string_view text) {
  std::string joined;
  joined.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    size_t newlines = 0;
    while (i < text.size() && text[i] == '\n') {
      ++newlines;
      ++i;
    }
    if (newlines == 1) joined += ' ';
    if (newlines > 1) joined.append(newlines, '\n');
    if (i < text.size()) joined += text[i++];
  }
  return joined;
}

bool IsCode(std::string_view path) {
  constexpr std::array<std::string_view, 14> kEndings = {".py",   ".c",  ".h",    ".cc",   ".cpp",
                                                         ".hpp",  ".rs", ".go",   ".js",   ".ts",
                                                         ".java", ".sh", ".json", ".proto"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&](std::string_view ending) { return path.ends_with(ending); });
}

absl::StatusOr<TokenizedText> LoadText(const Engine& engine, const std::string& path,
                                       int64_t skip_bytes, int64_t tokens) {
  KVP_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
  std::erase(text, '\r');
  if (!IsCode(path)) text = JoinLines(text);
  text = CutOnCharacters(text, skip_bytes, tokens * kBytesPerToken);
  KVP_ASSIGN_OR_RETURN(std::vector<int32_t> ids, engine.Tokenize(text));
  if (static_cast<int64_t>(ids.size()) < tokens) {
    return MakeError(absl::StatusCode::kInvalidArgument, "TEXT_TOO_SHORT",
                     path + " has " + std::to_string(ids.size()) + " tokens behind the first " +
                         std::to_string(skip_bytes) + " bytes, not " + std::to_string(tokens),
                     {{"path", path}, {"tokens", std::to_string(ids.size())}});
  }
  ids.resize(tokens);
  return TokenizedText{.name = std::filesystem::path(path).filename().string(),
                       .tokens = std::move(ids)};
}

}  // namespace kvpareto::tune
