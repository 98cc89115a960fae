#include <vector>

#include "engine/base/check.h"
#include "engine/cuda/sample.h"

namespace kvpareto::cuda {
namespace {

// Lists of the rows of one launch: well below what one operation may upload.
constexpr size_t kListBytes = size_t{4} << 20;

size_t ListBytes(const SampleRow& how) {
  return how.seen.size_bytes() + how.counts.size_bytes() + how.biases.size_bytes();
}

SampleJob JobOf(const SampleArgs& args, const SampleRow& how, Device& device) {
  SampleJob job{
      .logits = reinterpret_cast<float*>(args.logits.data) + size_t(how.row) * args.logits.cols,
      .temperature = how.temperature,
      .top_k = how.top_k,
      .top_p = how.top_p,
      .min_logit_offset = MinLogitOffset(how),
      .repetition_penalty = how.repetition_penalty,
      .presence_penalty = how.presence_penalty,
      .frequency_penalty = how.frequency_penalty,
      .random = how.random,
      .num_counts = static_cast<int32_t>(how.counts.size()),
      .num_biases = static_cast<int32_t>(how.biases.size()),
      .token = &args.tokens[how.row]};
  if (!how.seen.empty()) job.seen = device.Upload(how.seen);
  job.counts = device.Upload(how.counts);
  job.biases = device.Upload(how.biases);
  return job;
}

}  // namespace

void RunSample(const SampleArgs& args, Device& device) {
  std::vector<SampleJob> jobs;
  for (size_t next = 0; next < args.rows.size(); jobs.clear()) {
    device.BeginOperation();
    for (size_t bytes = 0; next < args.rows.size() && bytes <= kListBytes; ++next) {
      const SampleRow& how = args.rows[next];
      KVP_CHECK(how.row >= 0 && how.row < args.logits.rows);
      jobs.push_back(JobOf(args, how, device));
      bytes += ListBytes(how);
    }
    LaunchSample({.jobs = device.Upload(std::span<const SampleJob>(jobs)),
                  .num_jobs = static_cast<int32_t>(jobs.size()),
                  .vocab = args.logits.cols},
                 device.queue());
  }
}

}  // namespace kvpareto::cuda
