// Models and rows to test policies with.
#pragma once

#include <random>
#include <string>

#include "engine/kv/codec.h"
#include "engine/policy/pareto_table.h"

namespace kvpareto {

// The shape of SmolLM2-135M.
inline ModelConfig SmallModel() {
  ModelConfig model;
  model.name = "small";
  model.layers = 30;
  model.hidden = 576;
  model.ffn = 1536;
  model.heads = 9;
  model.kv_heads = 3;
  model.head_dim = 64;
  model.vocab = 49152;
  model.context_tokens = 8192;
  return model;
}

class RandomPolicy {
 public:
  explicit RandomPolicy(uint32_t seed) : random_(seed) {}

  int Pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  double Uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }

  // One that can store heads of SmallModel.
  kv::CodecId Codec() {
    kv::CodecId codec = kv::CodecId::kBf16;
    do {
      codec = kv::CodecId(Pick(0, kv::NumCodecs() - 1));
    } while (!kv::CodecSupports(codec, SmallModel().head_dim));
    return codec;
  }
  kv::LayerCodecs Codecs() {
    const kv::CodecId k = Codec();
    return {k, Codec()};
  }

  KvConfig Config(int layers) {
    KvConfig config;
    config.codecs = Codecs();
    for (int i = Pick(0, 3); i > 0; --i) config.layer_overrides[Pick(0, layers - 1)] = Codecs();
    config.sink_tokens = Pick(0, 2) == 0 ? 0 : Pick(0, 64);
    config.recent_tokens = Pick(0, 2) == 0 ? 0 : Pick(0, 512);
    config.prefill_chunk_tokens = kv::kBlockTokens * Pick(1, 16);
    if (Pick(0, 1) == 0) config.transforms = Transforms();
    return config;
  }
  kv::Transforms Transforms() {
    const auto clip = [&] {
      return Pick(0, 1) == 0 ? kv::Clip{}
                             : kv::Clip{.ratio = static_cast<float>(Uniform(0.3, 1.0))};
    };
    return {.k_rotation = kv::Rotation(Pick(0, 3)),
            .v_rotation = kv::Rotation(Pick(0, 3)),
            .k_center = Pick(0, 1) == 1,
            .v_center = Pick(0, 1) == 1,
            .remove_key_bias = Pick(0, 1) == 1,
            .k_clip = clip(),
            .v_clip = Pick(0, 2) == 0 ? kv::Clip{.calibrated = true} : clip()};
  }

  ParetoRow Row(const std::string& name, int layers) {
    ParetoRow row;
    row.name = name;
    row.config = Config(layers);
    row.bytes_per_token = Uniform(100, 50000);
    row.fixed_bytes = Pick(0, 1 << 20);
    row.workspace_bytes = Pick(0, 1 << 24);
    int64_t max_context = 0;
    for (int i = Pick(0, 4); i > 0; --i) {
      AccuracyBucket bucket;
      bucket.max_context_tokens = max_context += Pick(1, 4000);
      // Coarse, so that rows tie.
      bucket.accuracy = Pick(1, 20) / 20.0;
      bucket.accuracy_low = bucket.accuracy * Pick(15, 20) / 20.0;
      bucket.kl_mean = Uniform(0, 1);
      bucket.kl_p99 = Uniform(0, 10);
      bucket.perplexity_ratio = Uniform(0.9, 2);
      bucket.samples = Pick(0, 100000);
      row.accuracy.push_back(bucket);
    }
    row.speed = {Uniform(1, 5000), Pick(1, 8) * 10.0, Pick(0, 8192)};
    return row;
  }

  ParetoTable Table(int rows, int layers) {
    ParetoTable table;
    table.model_name = "random";
    table.model_fingerprint = "sha256:" + std::to_string(Pick(0, 1 << 30));
    table.provenance = {.command = "kvpareto-tune --model \"a b\" \\ --text 'x'\n",
                        .date = "2026-01-31T12:00:00Z",
                        .machine = "machine: #1",
                        .text = "caf\xc3\xa9 \x01 - text",
                        .tool_version = "0.1.0"};
    for (int i = 0; i < rows; ++i) {
      table.rows.push_back(Row("row-" + std::to_string(i), layers));
      // Now and then the bytes of an earlier row with another accuracy and speed.
      if (i > 0 && Pick(0, 2) == 0) table.rows[i].config = table.rows[Pick(0, i - 1)].config;
    }
    return table;
  }

 private:
  std::mt19937 random_;
};

}  // namespace kvpareto
