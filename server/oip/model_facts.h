// What the Open Inference Protocol tells about models: tensors, configuration, statistics.
#pragma once

#include <string>

#include "inference/open_inference.pb.h"
#include "server/models.h"
#include "server/request_counter.h"

namespace kvpareto::server::oip {

inference::ModelMetadataResponse Metadata(const std::string& name);
inference::ModelConfig Config(const std::string& name, const Engine& engine);
inference::ModelStatistics Statistics(const std::string& name, const Engine& engine,
                                      const RequestCounter& counter);

}  // namespace kvpareto::server::oip
