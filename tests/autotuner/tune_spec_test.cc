#include "autotuner/tune_spec.h"

#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

constexpr char kSmall[] = R"(schema_version: 1
out: out
models:
  - name: tiny
    weights:
      - {kind: as-is, path: tiny.gguf}
text:
  files: [text.txt]
  contexts: [256, 512]
space:
  grids:
    - pairs: [int8-token/int8-token]
search:
  mode: brute
)";

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

std::string Refusal(const std::string& yaml) {
  const auto spec = ParseTuneSpec(yaml, "dir/run.yaml");
  if (spec.ok()) return "accepted";
  EXPECT_EQ(GetErrorInfo(spec.status())->reason, "TUNE_SPEC_INVALID");
  return std::string(spec.status().message());
}

TEST(TuneSpecTest, PathsStartAtTheFilesFolder) {
  const auto spec = ParseTuneSpec(kSmall, "dir/run.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->out, "dir/out");
  EXPECT_EQ(spec->models[0].weights[0].path, "dir/tiny.gguf");
  EXPECT_EQ(spec->text.files[0], "dir/text.txt");
  EXPECT_EQ(spec->mode, SearchMode::kBrute);
  EXPECT_EQ(spec->speed.context_tokens, 512) << "no longer than the longest context";
}

TEST(TuneSpecTest, RefusalsNameFileLineAndKey) {
  EXPECT_EQ(Refusal(Replaced(kSmall, "out: out", "output: out")),
            "dir/run.yaml:1: out: is missing");
  EXPECT_EQ(Refusal(Replaced(kSmall, "out: out", "out: out\nsede: 1")).substr(0, 35),
            "dir/run.yaml:3: sede: unknown key; ");
  EXPECT_EQ(Refusal(Replaced(kSmall, "[256, 512]", "[512, 256]")),
            "dir/run.yaml:9: text.contexts: must ascend");
  EXPECT_EQ(Refusal(Replaced(kSmall, "as-is,", "awq8,")),
            "dir/run.yaml:6: models[0].weights[0].kind: 'awq8' is none of as-is, bf16, awq4");
  EXPECT_EQ(Refusal(Replaced(kSmall, "brute", "thorough")),
            "dir/run.yaml:14: search.mode: 'thorough' is none of brute, quick, evolve");
  EXPECT_NE(Refusal(Replaced(kSmall, "[int8-token/int8-token]", "[int9-token/int8-token]"))
                .find("dir/run.yaml:12: space.grids[0]"),
            std::string::npos);
  EXPECT_NE(Refusal(Replaced(kSmall, "schema_version: 1", "schema_version: 2")).find(":1: "),
            std::string::npos);
  EXPECT_EQ(Refusal(Replaced(kSmall, "[256, 512]", "longest")),
            "dir/run.yaml:9: text.contexts: expected a list");
  EXPECT_NE(Refusal("a: [").find("not YAML"), std::string::npos);
}

TEST(TuneSpecTest, EvolutionNeedsCandidates) {
  EXPECT_NE(Refusal(Replaced(kSmall, "mode: brute", "mode: evolve")).find("search.evolve"),
            std::string::npos);
  const auto spec =
      ParseTuneSpec(Replaced(kSmall, "mode: brute",
                             "mode: evolve\n  evolve: {k_codecs: [int4-channel, int8-channel], "
                             "v_codecs: [int4-token, int8-token], population: 8}"),
                    "run.yaml");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->evolve.population, 8);
  EXPECT_EQ(spec->evolve.k_codecs.size(), 2);
}

}  // namespace
}  // namespace kvpareto::tune
