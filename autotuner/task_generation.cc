#include "autotuner/task_generation.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace kvpareto::tune {
namespace {

struct Finished {
  size_t job = 0;
  absl::Status status;
  GeneratedText generated;
};

// What the engine's thread hands over.
class FinishedQueue {
 public:
  void Push(Finished finished) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(finished));
    pushed_.notify_one();
  }
  Finished Pop() {
    std::unique_lock lock(mutex_);
    pushed_.wait(lock, [this] { return !queue_.empty(); });
    Finished first = std::move(queue_.front());
    queue_.pop_front();
    return first;
  }

 private:
  std::mutex mutex_;
  std::condition_variable pushed_;
  std::deque<Finished> queue_;
};

class CollectingSink final : public ResponseSink {
 public:
  CollectingSink(size_t job, std::shared_ptr<FinishedQueue> queue) : queue_(std::move(queue)) {
    finished_.job = job;
  }
  void OnDelta(Delta delta) override {
    finished_.generated.text += delta.text;
    finished_.generated.tokens += std::ssize(delta.tokens);
  }
  void OnFinish(const absl::Status& status, const Usage& /*usage*/) override {
    finished_.status = status;
    queue_->Push(std::move(finished_));
  }

 private:
  const std::shared_ptr<FinishedQueue> queue_;
  Finished finished_;
};

class Generation {
 public:
  Generation(Engine& engine, const KvConfig& config) : engine_(engine), config_(config) {}
  // Leaves nothing behind in the engine.
  ~Generation() {
    for (const auto& [job, handle] : running_) engine_.Cancel(handle);
    while (!running_.empty()) Wait();
  }
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  size_t running() const { return running_.size(); }

  absl::Status Start(size_t index, const GenerationJob& job) {
    Request request;
    request.request_id = "task";
    request.prompt = *job.prompt;
    request.stopping.max_tokens = job.max_new_tokens;
    request.stopping.stop_strings = job.stop_strings;
    request.kv.pinned_config = config_.ToString();
    KVP_ASSIGN_OR_RETURN(Engine::Prepared prepared, engine_.Prepare(std::move(request)));
    KVP_ASSIGN_OR_RETURN(
        const RequestHandle handle,
        engine_.Submit(std::move(prepared), std::make_shared<CollectingSink>(index, queue_)));
    running_.emplace(index, handle);
    return absl::OkStatus();
  }

  Finished Wait() {
    Finished finished = queue_->Pop();
    running_.erase(finished.job);
    return finished;
  }

 private:
  Engine& engine_;
  const KvConfig& config_;
  const std::shared_ptr<FinishedQueue> queue_ = std::make_shared<FinishedQueue>();
  std::map<size_t, RequestHandle> running_;  // by job
};

}  // namespace

absl::Status GenerateTexts(Engine& engine, std::span<const GenerationJob> jobs,
                           const KvConfig& config, const GenerationOptions& options,
                           const std::function<absl::Status(size_t, GeneratedText)>& done) {
  Generation generation(engine, config);
  size_t next = 0;
  while (true) {
    while (next < jobs.size() && generation.running() < size_t(options.max_in_flight) &&
           !options.stop()) {
      KVP_RETURN_IF_ERROR(generation.Start(next, jobs[next]));
      ++next;
    }
    if (generation.running() == 0) return absl::OkStatus();
    Finished finished = generation.Wait();
    KVP_RETURN_IF_ERROR(finished.status);
    KVP_RETURN_IF_ERROR(done(finished.job, std::move(finished.generated)));
  }
}

}  // namespace kvpareto::tune
