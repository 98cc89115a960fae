// The lists that documents name can be measured as they stand.
#include <filesystem>
#include <fstream>
#include <sstream>

#include "autotuner/fidelity_list.h"
#include "gtest/gtest.h"

namespace kvpareto::tune {
namespace {

TEST(ExamplesTest, EveryListFitsTheModelsItIsFor) {
  int lists = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(KVPARETO_SOURCE_DIR "/autotuner/examples")) {
    if (entry.path().extension() != ".list") continue;
    ++lists;
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    const auto configs = ParseFidelityList(text.str());
    ASSERT_TRUE(configs.ok()) << entry.path() << ": " << configs.status();
    for (int head_dim : {64, 128}) {
      const ModelConfig model{.layers = 24, .heads = 4, .kv_heads = 2, .head_dim = head_dim};
      for (const MeasuredConfig& measured : *configs) {
        EXPECT_TRUE(measured.config.ValidateFor(model).ok()) << entry.path() << measured.name;
        const auto bits = BitsOf(measured, model, 8192);
        ASSERT_TRUE(bits.ok()) << measured.name << ": " << bits.status();
        EXPECT_GT(*bits, 2.0) << measured.name;
      }
    }
  }
  EXPECT_EQ(lists, 3);
}

}  // namespace
}  // namespace kvpareto::tune
