// A real engine on a tiny random model, for measurements that must run the model.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvpareto::tune {

class TinyEngineTest : public testing::Test {
 protected:
  TinyEngineTest() {
    support::TinyModelOptions tiny;
    tiny.head_dim = 64;
    support::WriteGguf(support::MakeTinyModel(tiny), folder_.File("tiny.gguf"));
    EngineOptions options;
    options.model_path = folder_.File("tiny.gguf");
    options.kv_capacity_bytes = uint64_t{64} << 20;
    options.threads = 2;
    auto engine = Engine::Create(options);
    EXPECT_TRUE(engine.ok()) << engine.status();
    if (engine.ok()) engine_ = *std::move(engine);
  }

  // Prose without meaning, one token a byte or less.
  static std::string Prose(size_t bytes) {
    std::string text;
    for (int i = 0; text.size() < bytes; ++i) {
      text += "Sentence " + std::to_string(i * i % 977) + " of a text without meaning. ";
    }
    return text;
  }

  support::TempDir folder_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace kvpareto::tune
