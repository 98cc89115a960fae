// One generation, whatever transport asked for it: takes a request of the API through the engine
// and hands its events back.
//
// Threads: the transport's (Start, Cancel), a worker (parsing to submission), the engine's (sink).
// `mutex_` guards what they share; neither the engine nor the output is called under it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kvpareto/v1/inference.pb.h"
#include "server/convert_response.h"
#include "server/models.h"
#include "server/request_counter.h"
#include "server/running_requests.h"
#include "server/security/access.h"
#include "server/worker_pool.h"

namespace kvpareto::server {

// What every generation uses; outlives them all.
struct GenerateResources {
  const Models* models = nullptr;
  const security::Access* access = nullptr;
  const std::set<std::string>* service_classes = nullptr;
  WorkerPool* workers = nullptr;
  RequestCounter* counter = nullptr;
  RunningRequests* running = nullptr;
  uint64_t stream_buffer_bytes = 0;
};

// RESOURCE_EXHAUSTED (SLOW_READER).
absl::Status SlowReader(uint64_t buffer_bytes);

// Where a generation's events go. Called on a worker or on the engine's thread, never twice at the
// same time; must not block.
class GenerationOutput {
 public:
  virtual ~GenerationOutput() = default;
  // A plan (before the first output, not earlier: until then an error can still be the whole
  // answer, which is what lets clients retry), deltas, and the result of what succeeded. False: the
  // client reads too slowly; nothing but OnEnd(SLOW_READER) follows.
  virtual bool OnEvent(const v1::GenerateResponse& event) = 0;
  // Once and last.
  virtual void OnEnd(const absl::Status& status) = 0;
};

class Generation final : public ResponseSink, public std::enable_shared_from_this<Generation> {
 public:
  using Parse = std::function<absl::StatusOr<v1::GenerateRequest>()>;
  using Deadline = std::optional<std::chrono::steady_clock::time_point>;

  // `caller`: an error ends the generation before anything is done for it. `parse` runs on a
  // worker. `output` is let go of after OnEnd.
  Generation(const GenerateResources& resources, absl::StatusOr<security::Caller> caller,
             Parse parse, Deadline deadline, std::shared_ptr<GenerationOutput> output)
      : resources_(resources),
        caller_(std::move(caller)),
        parse_(std::move(parse)),
        deadline_(deadline),
        output_(std::move(output)) {}

  // Once. What goes wrong comes by OnEnd, perhaps before this returns.
  void Start();
  // The client is gone: the engine lets go of the request's memory within one step, OnEnd follows.
  void Cancel();

  void OnAdmitted(const Plan& plan) override;
  void OnDelta(Delta delta) override;
  void OnPlanChanged(const Plan& plan) override;
  void OnFinish(const absl::Status& status, const Usage& usage) override;

 private:
  // Parse, check, tokenize, plan, submit. On error the engine does not know the request.
  absl::Status Prepare();
  absl::Status Submit(Engine::Prepared prepared);
  void SetPlanEvent(const Engine::Prepared& prepared);
  void Register(const Engine::Prepared& prepared);
  void ShowPlan(const Plan& plan);
  void Emit(const v1::GenerateResponse& event);
  // The verdict on a request that the engine has ended with `status`.
  absl::Status FinalStatus(const absl::Status& status, const Usage& usage);
  v1::GenerateResponse ResultEvent(const Usage& usage) const;
  // Counts and logs the request, then OnEnd.
  void End(const absl::Status& status, const Usage& usage);
  void CancelInEngine();

  const GenerateResources resources_;
  const absl::StatusOr<security::Caller> caller_;
  const Parse parse_;
  Deadline deadline_;
  std::shared_ptr<GenerationOutput> output_;

  // Set by Prepare, before the engine knows the request; constant from then on.
  Engine* engine_ = nullptr;
  std::string request_id_;
  RequestCounter::Key labels_{RequestCounter::kUnknown, RequestCounter::kUnknown, ""};
  TokenDetail detail_;

  // Set by Prepare too; from then on of the engine's thread.
  std::optional<Plan> plan_;  // none: refused before there was one
  v1::GenerateResponse plan_event_;
  std::shared_ptr<RunningRequest> running_;  // while the engine has it
  bool plan_sent_ = false;
  std::vector<FinishReason> finish_reasons_;  // by sequence

  std::mutex mutex_;
  std::optional<RequestHandle> handle_;
  bool client_gone_ = false;
  bool slow_reader_ = false;
};

}  // namespace kvpareto::server
