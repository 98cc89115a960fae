#include "server/health.h"

#include <utility>

#include "server/log.h"
#include "server/notify.h"

namespace kvpareto::server {

Health::Health(const Models* models, std::vector<std::string> service_names,
               std::chrono::milliseconds step_stall)
    : models_(models),
      service_names_(std::move(service_names)),
      step_stall_(step_stall),
      thread_([this] { Loop(); }) {}

Health::~Health() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Health::Attach(grpc::HealthCheckServiceInterface* service) {
  const std::lock_guard lock(mutex_);
  service_ = service;
  Publish();
}

void Health::SetDraining() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
  Publish();
}

bool Health::live() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

bool Health::ready() const {
  const std::lock_guard lock(mutex_);
  return progress_ && !draining_;
}

bool Health::EnginesProgress() const {
  const double limit_seconds = std::chrono::duration<double>(step_stall_).count();
  for (const auto& [name, engine] : models_->engines()) {
    if (engine->Stats().step_age_seconds > limit_seconds) return false;
  }
  return true;
}

void Health::Publish() {
  if (service_ == nullptr) return;
  service_->SetServingStatus("", progress_);
  for (const std::string& name : service_names_) {
    service_->SetServingStatus(name, progress_ && !draining_);
  }
}

void Health::Loop() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kPeriod, [this] { return stopping_; })) {
    const bool progress = EnginesProgress();
    if (progress) NotifyServiceManager("WATCHDOG=1");
    if (progress == progress_) continue;
    progress_ = progress;
    if (progress) {
      LogInfo("engine progresses again");
    } else {
      LogError("engine is stuck: a step does not end", {{"limit_ms", step_stall_.count()}});
    }
    Publish();
  }
}

}  // namespace kvpareto::server
