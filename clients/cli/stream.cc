#include "clients/cli/stream.h"

#include "clients/cli/interrupt.h"
#include "kvpareto/v1/inference.grpc.pb.h"

namespace kvpareto::cli {

grpc::Status RunGenerate(const Session& session, const v1::GenerateRequest& request,
                         const StreamEvents& events) {
  const auto stub = session.Stub<v1::InferenceService>();
  grpc::ClientContext context;
  session.Prepare(&context);
  const CancelOnInterrupt cancel(&context);
  const auto reader = stub->Generate(&context, request);
  v1::GenerateResponse response;
  while (reader->Read(&response)) {
    switch (response.event_case()) {
      case v1::GenerateResponse::kPlan:
        events.on_plan(response.plan());
        break;
      case v1::GenerateResponse::kDelta:
        if (!events.on_delta(response.delta())) context.TryCancel();
        break;
      case v1::GenerateResponse::kResult:
        events.on_result(response.result());
        break;
      case v1::GenerateResponse::kPlanChanged:   // the usage will tell
      case v1::GenerateResponse::EVENT_NOT_SET:  // of a newer server
        break;
    }
  }
  return reader->Finish();
}

}  // namespace kvpareto::cli
