#include "server/health.h"

#include <utility>

#include "server/log.h"
#include "server/notify.h"

namespace kvpareto::server {

Health::Health(const Models* models, std::vector<std::string> service_names,
               std::chrono::milliseconds step_stall, std::function<void()> on_failure)
    : models_(models),
      service_names_(std::move(service_names)),
      step_stall_(step_stall),
      on_failure_(std::move(on_failure)),
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
  return live_;
}

bool Health::ready() const {
  const std::lock_guard lock(mutex_);
  return live_ && !draining_;
}

// Why the process is not live; empty: it is.
std::string Health::Trouble(bool* failed) const {
  const double limit_seconds = std::chrono::duration<double>(step_stall_).count();
  std::string trouble;
  for (const auto& [name, engine] : models_->engines()) {
    const EngineStats stats = engine->Stats();
    if (!stats.failure.empty()) {
      *failed = true;
      return "the engine of model " + name + " failed: " + stats.failure;
    }
    if (stats.stalled_seconds > limit_seconds) {
      trouble =
          "the engine of model " + name + " is stuck: it has work and does not get on with it";
    }
  }
  return trouble;
}

void Health::Publish() {
  if (service_ == nullptr) return;
  service_->SetServingStatus("", live_);
  for (const std::string& name : service_names_) {
    service_->SetServingStatus(name, live_ && !draining_);
  }
}

void Health::Loop() {
  bool failed = false;
  bool told = false;
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kPeriod, [this] { return stopping_; })) {
    const std::string trouble = Trouble(&failed);
    if (trouble.empty()) NotifyServiceManager("WATCHDOG=1");
    if (trouble.empty() != live_) {
      live_ = trouble.empty();
      if (live_) {
        LogInfo("engine progresses again");
      } else {
        LogError("not serving", {{"why", trouble}});
      }
      Publish();
    }
    if (failed && !std::exchange(told, true) && on_failure_) on_failure_();
  }
}

}  // namespace kvpareto::server
