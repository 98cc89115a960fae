// The engine's native types to messages of the API.
#pragma once

#include <string>
#include <vector>

#include "engine/engine.h"
#include "kvpareto/v1/inference.pb.h"
#include "kvpareto/v1/model.pb.h"

namespace kvpareto::server {

// Name of a plan's config in responses and metric labels: the row's, or "pinned".
std::string ConfigName(const Plan& plan);

v1::KvPlan ToProto(const Plan& plan);
v1::Usage ToProto(const Usage& usage, const Plan& plan);
v1::FinishReason ToProto(FinishReason reason);
google::protobuf::Duration ToProtoDuration(double seconds);

// What a Delta says of its tokens.
struct TokenDetail {
  bool ids = false;
  bool logprobs = false;
};
// `engine` gives the text of log-probabilities' tokens.
v1::Delta ToProto(const Delta& delta, TokenDetail detail, const Engine& engine);

v1::Model ToProto(const Engine& engine);  // without name, default and state
v1::ParetoTable ToProto(const ParetoTable& table);

}  // namespace kvpareto::server
