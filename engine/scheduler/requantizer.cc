#include "engine/scheduler/requantizer.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

int64_t TotalTokens(const ActiveRequest& request) {
  // The last generated token is never fed back, so never stored.
  return static_cast<int64_t>(request.prepared.prompt_tokens.size()) + request.prepared.max_tokens -
         1;
}

// The only sequence of a request that may be made smaller; null: it may not.
Sequence* Shrinkable(const ActiveRequest& request) {
  if (request.prepared.request.num_sequences != 1) return nullptr;
  Sequence* const sequence = request.sequences.front().get();
  return sequence == nullptr || sequence->prefilling() ? nullptr : sequence;
}

// What the sequence needs to its end in `format`, if its own blocks exceed that format's by
// `excess_bytes` now, and it shares `shared_blocks` blocks and perhaps its sink.
uint64_t Need(const ActiveRequest& request, const Sequence& sequence, const CacheFormat& format,
              const SharedPart& shared, size_t excess_bytes) {
  const size_t peak = kv::PredictPeakBytesFrom(format.footprint, sequence.cache().num_tokens(),
                                               sequence.prompt_tokens(), TotalTokens(request),
                                               format.config.prefill_chunk_tokens);
  return peak + excess_bytes - shared.blocks * format.sealed.bytes() -
         (shared.sink ? format.footprint.sink_bytes : 0);
}

size_t Sum(const std::vector<size_t>& values) {
  return std::accumulate(values.begin(), values.end(), size_t{0});
}

}  // namespace

uint64_t Requantizer::Free(const ReliefDemand& demand) {
  uint64_t freed = 0;
  while (freed + OnItsWay(demand.running) < demand.wanted_bytes) {
    const std::optional<Change> change = Cheapest(demand);
    if (!change) break;
    freed += Apply(*change);
  }
  return freed;
}

uint64_t Requantizer::OnItsWay(std::span<const std::unique_ptr<ActiveRequest>> running) const {
  uint64_t bytes = 0;
  for (const auto& request : running) {
    const Sequence* const sequence = Shrinkable(*request);
    if (sequence == nullptr || request->requantized_from.empty()) continue;
    bytes += Sum(sequence->cache().Excess());
  }
  return bytes;
}

std::optional<Requantizer::Change> Requantizer::Cheapest(const ReliefDemand& demand) {
  std::optional<Change> cheapest;
  for (const auto& request : demand.running) {
    if (Shrinkable(*request) == nullptr || !demand.may_shrink(*request)) continue;
    for (const Plan& plan : request->prepared.alternatives) {
      std::optional<Change> change = Consider(*request, plan);
      if (!change) continue;
      const bool better = !cheapest || change->loss_per_byte() < cheapest->loss_per_byte() ||
                          (change->loss_per_byte() == cheapest->loss_per_byte() &&
                           change->freed_bytes > cheapest->freed_bytes);
      if (better) cheapest = std::move(change);
    }
  }
  return cheapest;
}

std::optional<Requantizer::Change> Requantizer::Consider(ActiveRequest& request, const Plan& plan) {
  const Sequence& sequence = *Shrinkable(request);
  const Plan& present = request.prepared.plan;
  if (plan.row_name == present.row_name) return std::nullopt;
  const PromisedAccuracy accuracy = AccuracyAfter(present, plan);
  const std::optional<double>& target = request.prepared.accuracy_target;
  if (target && !(accuracy.low && *accuracy.low >= *target)) return std::nullopt;
  KvConfig config = plan.config;
  config.prefill_chunk_tokens = present.config.prefill_chunk_tokens;  // the prompt is behind it
  const auto format = formats_->Get(config);
  if (!format.ok() || !sequence.cache().CanSwitch(**format)) return std::nullopt;

  const SharedPart shared = sequence.SharedAfterTakingBack();
  // Blocks that are shared stay as they are, and in front of those that are sealed from now on.
  if (shared.blocks > kv::FinalBlocks((*format)->footprint, sequence.cache().num_tokens())) {
    return std::nullopt;
  }
  const std::vector<size_t> excess = sequence.cache().Excess(**format, shared.blocks);
  const uint64_t reserved = request.reserved_bytes + shared.taken_back_bytes;
  const uint64_t least = Need(request, sequence, **format, shared, 0);
  if (least >= reserved) return std::nullopt;
  Change change{.request = &request,
                .plan = &plan,
                .format = *format,
                .accuracy = accuracy,
                .loss = std::max(0.0, present.accuracy.value_or(1.0) - accuracy.low.value_or(0.0)),
                .freed_bytes = reserved - least};
  for (size_t rest = Sum(excess); least + rest > reserved; ++change.blocks_at_once) {
    rest -= excess[change.blocks_at_once];
  }
  return change;
}

uint64_t Requantizer::Apply(const Change& change) {
  ActiveRequest& request = *change.request;
  Sequence& sequence = *request.sequences.front();
  request.reserved_bytes += sequence.TakeBackPrefix();
  sequence.cache().Switch(change.format);
  request.requantized_from = request.config_label();
  Plan& plan = request.prepared.plan;
  plan.row_name = change.plan->row_name;
  plan.config = change.format->config;
  plan.accuracy = change.accuracy.low;
  plan.mean_accuracy = change.accuracy.mean;
  plan.reason = PlanReason::kPressure;
  plan.explanation = "changed while it ran, from " + request.requantized_from + " to " +
                     plan.row_name + ", to make room for others";
  request.sink->OnPlanChanged(plan);
  return Reencode(request, std::max(change.blocks_at_once, kRequantizedBlocksPerRound));
}

// Returns the bytes given back.
uint64_t Requantizer::Reencode(ActiveRequest& request, int max_blocks) {
  Sequence& sequence = *request.sequences.front();
  SequenceCache& cache = sequence.cache();
  const std::vector<RequantizeItem> items = cache.NextChanges(max_blocks);
  if (!items.empty()) executor_->Requantize(items);
  const size_t bytes = cache.EndChanges(items.size());
  bytes_total_[{request.requantized_from, request.config_label()}] += bytes;
  request.requantized_bytes += bytes;
  const SharedPart shared{
      .blocks = cache.shared_blocks(), .sink = cache.sink_shared(), .taken_back_bytes = 0};
  const uint64_t need = Need(request, sequence, cache.format(), shared, Sum(cache.Excess()));
  KVP_CHECK(need <= request.reserved_bytes) << need << " of " << request.reserved_bytes;
  const uint64_t freed = request.reserved_bytes - need;
  arena_->Unreserve(freed);
  request.reserved_bytes = need;
  return freed;
}

void Requantizer::Advance(std::span<const std::unique_ptr<ActiveRequest>> running) {
  int blocks = kRequantizedBlocksPerRound;
  for (const auto& request : running) {
    const Sequence* const sequence = Shrinkable(*request);
    if (sequence == nullptr || request->requantized_from.empty()) continue;
    const int left = static_cast<int>(sequence->cache().Excess().size());
    if (left == 0) continue;
    Reencode(*request, blocks);
    blocks -= std::min(blocks, left);
    if (blocks == 0) return;
  }
}

}  // namespace kvpareto
