#include "engine/base/check.h"
#include "engine/policy/kv_config.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/fuzz/targets.h"

void kvpareto::fuzz::KvConfig(std::string_view input) {
  const auto config = kvpareto::KvConfig::Parse(input);
  CheckRefusal(config.status());
  if (!config.ok()) return;
  const auto again = kvpareto::KvConfig::Parse(config->ToString());
  KVP_CHECK(again.ok() && *again == *config) << config->ToString();
  ModelConfig model;
  model.layers = 4;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 64;
  model.context_tokens = 1 << 20;
  const absl::Status fits = config->ValidateFor(model);
  CheckRefusal(fits);
  if (fits.ok()) EffectiveBits(*config, model, 100'000);
}
