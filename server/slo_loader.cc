#include "server/slo_loader.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <utility>

#include "server/log.h"

namespace kvpareto::server {
namespace {

constexpr auto kWatchInterval = std::chrono::seconds(1);

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  if (!file || !(text << file.rdbuf())) {
    return MakeError(absl::StatusCode::kNotFound, "SLO_NOT_FOUND", "cannot read " + path);
  }
  return text.str();
}

// FNV-1a: tells files apart, protects nothing.
std::string HashOf(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const unsigned char c : text) hash = (hash ^ c) * 0x100000001b3u;
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash));
  return hex;
}

absl::Status Invalid(const std::string& where, const std::string& message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "SLO_INVALID", where + ": " + message,
                   {{"where", where}});
}

}  // namespace

SloLoader::SloLoader(std::string file, const Models* models,
                     const std::set<std::string>* service_classes)
    : file_(std::move(file)), models_(models), service_classes_(service_classes) {}

SloLoader::~SloLoader() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

// Models and classes that this server does not have.
absl::Status SloLoader::Check(const SloFile& file) const {
  for (const ModelSlo& slo : file.models) {
    const auto engine = models_->engines().find(slo.model);
    if (engine == models_->engines().end()) {
      return Invalid(slo.where, "this server has no model " + slo.model);
    }
    for (const ClassSlo& c : slo.classes) {
      if (!service_classes_->contains(c.name)) {
        return Invalid(c.where, "class " + c.name +
                                    " is not one of service_classes in the server's configuration");
      }
    }
    KVP_RETURN_IF_ERROR(engine->second->CheckSlo(slo));
  }
  return absl::OkStatus();
}

absl::Status SloLoader::Apply(const std::string& yaml) {
  KVP_ASSIGN_OR_RETURN(const SloFile file, ParseSlo(yaml, file_));
  KVP_RETURN_IF_ERROR(Check(file));
  for (const auto& [name, engine] : models_->engines()) {
    const ModelSlo* slo = file.Find(name);
    engine->SetSlo(slo == nullptr ? ModelSlo{.model = name} : *slo);
  }
  return absl::OkStatus();
}

absl::Status SloLoader::Reload() {
  if (file_.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "SLO_NOT_CONFIGURED",
                     "the server's configuration names no SLO file");
  }
  const std::lock_guard reloading(reload_mutex_);
  const absl::StatusOr<std::string> text = ReadText(file_);
  const absl::Status status = text.ok() ? Apply(*text) : text.status();
  seen_ = text.value_or("");
  Count(status, HashOf(seen_));
  return status;
}

void SloLoader::Count(const absl::Status& status, const std::string& content_hash) {
  if (status.ok()) {
    LogInfo("SLO in force", {{"file", file_}, {"hash", content_hash}});
  } else {
    LogError("SLO refused", {{"file", file_}, {"error", std::string(status.message())}});
  }
  const std::lock_guard lock(mutex_);
  ++(status.ok() ? state_.reloads_ok : state_.reloads_failed);
  if (status.ok()) state_.content_hash = content_hash;
}

void SloLoader::StartWatching() {
  if (!file_.empty()) watcher_ = std::thread([this] { Watch(); });
}

// By content: times and inodes differ in what they mean from one file system to the next. A file
// that is gone for a moment (while it is replaced) is not a change.
void SloLoader::Watch() {
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, kWatchInterval, [this] { return stop_; })) {
    lock.unlock();
    const absl::StatusOr<std::string> text = ReadText(file_);
    bool changed = false;
    if (text.ok()) {
      const std::lock_guard reloading(reload_mutex_);
      changed = *text != seen_;
    }
    if (changed) Reload().IgnoreError();  // counted and logged
    lock.lock();
  }
}

SloState SloLoader::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

}  // namespace kvpareto::server
