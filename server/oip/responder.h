// A generation's events as responses of the Open Inference Protocol.
#pragma once

#include <string>
#include <vector>

#include "inference/open_inference.pb.h"
#include "kvpareto/v1/inference.pb.h"
#include "server/oip/convert.h"

namespace kvpareto::server::oip {

class Responder {
 public:
  // `id` is echoed.
  Responder(InferCall call, std::string id) : call_(std::move(call)), id_(std::move(id)) {}

  // The responses to send for that event, often none.
  std::vector<inference::ModelInferResponse> OnEvent(const v1::GenerateResponse& event);
  const InferCall& call() const { return call_; }
  const std::string& id() const { return id_; }

 private:
  void Add(const v1::Delta& delta);
  // What has been added since the last one.
  inference::ModelInferResponse Take();
  std::vector<inference::ModelInferResponse> Finish(const v1::Usage& usage);

  const InferCall call_;
  const std::string id_;
  v1::GeneratePlan plan_;
  std::string text_;
  int tokens_ = 0;
  float cum_log_probs_ = 0.0f;
  v1::FinishReason finish_reason_ = v1::FINISH_REASON_UNSPECIFIED;
};

}  // namespace kvpareto::server::oip
