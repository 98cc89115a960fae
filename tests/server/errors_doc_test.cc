// docs/errors.md names every reason that the sources can give.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace kvpareto::server {
namespace {

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// String literals in UPPER_SNAKE_CASE, which nothing but reasons and environment variables use.
std::set<std::string> ReasonsIn(const std::filesystem::path& folder) {
  static const std::regex literal("\"([A-Z]+(_[A-Z]+)+)\"");
  std::set<std::string> reasons;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".cc" && entry.path().extension() != ".h") continue;
    static const std::regex comment("//[^\n]*");
    const std::string text = std::regex_replace(ReadFile(entry.path()), comment, "");
    for (auto it = std::sregex_iterator(text.begin(), text.end(), literal);
         it != std::sregex_iterator(); ++it) {
      const std::string word = (*it)[1];
      if (!word.starts_with("KVPARETO_") && word != "NOTIFY_SOCKET") reasons.insert(word);
    }
  }
  return reasons;
}

TEST(ErrorsDocument, ListsEveryReason) {
  const std::filesystem::path root = KVPARETO_SOURCE_DIR;
  const std::string document = ReadFile(root / "docs/errors.md");
  std::set<std::string> reasons = ReasonsIn(root / "engine");
  reasons.merge(ReasonsIn(root / "server"));
  EXPECT_GE(reasons.size(), 30u);
  std::set<std::string> missing;
  for (const std::string& reason : reasons) {
    if (document.find("`" + reason + "`") == std::string::npos) missing.insert(reason);
  }
  EXPECT_THAT(missing, ::testing::IsEmpty());
}

}  // namespace
}  // namespace kvpareto::server
