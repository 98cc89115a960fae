// A tuning run that SIGKILL hits at random moments ends with the same files: the script that users
// have, on a tiny model.
#include <cstdlib>
#include <fstream>

#include "gtest/gtest.h"
#include "tests/autotuner/tiny_engine.h"

namespace kvpareto::tune {
namespace {

class ResumeTest : public TinyEngineTest {};

TEST_F(ResumeTest, KilledTenTimesItWritesTheSameTable) {
  std::ofstream(folder_.File("text.txt")) << Prose(8000);
  std::ofstream(folder_.File("run.yaml"))
      << "schema_version: 1\n"
         "out: unused\n"
         "threads: 1\n"
         "kv_capacity_mib: 64\n"
         "models:\n"
         "  - {name: tiny, weights: [{kind: as-is, path: tiny.gguf}]}\n"
         "text: {files: [text.txt], contexts: [256, 512], windows: 1, decode_tokens: 32}\n"
         "speed: {context_tokens: 128, decode_tokens: 4, repeats: 1}\n"
         "tasks:\n"
         "  - {kind: perplexity, path: text.txt, count: 8, context_tokens: [256]}\n"
         "space:\n"
         "  grids:\n"
         "    - pairs: [int8-channel/int8-token, int4-channel/int4-token, "
         "int3-channel/int3-token, int2-channel/int2-token]\n"
         "      recent: [0, 64]\n"
         "      chunk: [64, 128]\n"
         "search: {mode: quick, keep: 0.5, finalists: 4}\n";
  const std::string command = std::string(KVPARETO_SOURCE_DIR) +
                              "/scripts/verify_resume.sh " KVPARETO_TUNE " " +
                              folder_.File("run.yaml") + " " + folder_.File("resume") + " 10 >&2";
  EXPECT_EQ(std::system(command.c_str()), 0);
}

}  // namespace
}  // namespace kvpareto::tune
