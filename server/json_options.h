// Options that every API with JSON-like requests reads under the same names.
#pragma once

#include <string>

#include "kvpareto/v1/inference.pb.h"
#include "server/json_reader.h"

namespace kvpareto::server {

// temperature, top_k (-1: all, as 0), top_p, min_p, repetition_penalty, presence_penalty,
// frequency_penalty, seed, max_tokens, ignore_eos, stop_token_ids.
absl::Status ReadSamplingOptions(JsonReader* json, v1::GenerateRequest* request);

// memory_budget_bytes, accuracy_target, objective ("accuracy", "memory", "speed") and config, each
// with `prefix` before its name.
absl::Status ReadKvOptions(JsonReader* json, const std::string& prefix, v1::KvOptions* kv);

}  // namespace kvpareto::server
