// The table of docs/codecs.md says what BitsPerElement says, for every codec of the list.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

#include "engine/kv/codec.h"

namespace kvpareto::kv {
namespace {

std::string Number(double bits) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", bits);
  return text;
}

// "4.5", "4.625 / 4.5" where values take other bits than keys, "-" where it cannot store the head.
std::string Cell(CodecId codec, int head_dim) {
  if (!CodecSupports(codec, head_dim)) return "-";
  const std::string k = Number(BitsPerElement(codec, Role::kKey, head_dim));
  const std::string v = Number(BitsPerElement(codec, Role::kValue, head_dim));
  return k == v ? k : k + " / " + v;
}

TEST(CodecDocTest, BitsPerElementAreTheMeasuredOnes) {
  std::ifstream file(KVPARETO_SOURCE_DIR "/docs/codecs.md");
  ASSERT_TRUE(file.is_open());
  // | `codec` | bits at head_dim 64 | bits at head_dim 128 |
  const std::regex row(R"(^\| `([\w-]+)` \| ([-/.\d ]+) \| ([-/.\d ]+) \|$)");
  std::map<std::string, std::pair<std::string, std::string>> rows;
  for (std::string line; std::getline(file, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, row)) continue;
    EXPECT_TRUE(rows.emplace(match[1], std::pair(match[2], match[3])).second) << match[1];
  }
  std::ostringstream table;  // to paste
  bool same = rows.size() == static_cast<size_t>(NumCodecs());
  for (int i = 0; i < NumCodecs(); ++i) {
    const std::string name(GetCodecInfo(CodecId(i)).name);
    const std::pair<std::string, std::string> cells = {Cell(CodecId(i), 64), Cell(CodecId(i), 128)};
    same = same && rows[name] == cells;
    table << "| `" << name << "` | " << cells.first << " | " << cells.second << " |\n";
  }
  EXPECT_TRUE(same) << "the table of docs/codecs.md must be:\n" << table.str();
}

}  // namespace
}  // namespace kvpareto::kv
