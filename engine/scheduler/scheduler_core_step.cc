// The scheduler's steps: what goes into one, running it, handing out what it produced.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/scheduler/scheduler_core.h"
#include "engine/scheduler/step_planner.h"
#include "engine/text/sampler.h"

namespace kvpareto {
namespace {

bool IsNotFinite(const StepOutputs& outputs, const Sequence* sequence) {
  return std::find(outputs.not_finite.begin(), outputs.not_finite.end(), sequence) !=
         outputs.not_finite.end();
}

}  // namespace

// The step's sequences, decoding ones first.
std::vector<SchedulerCore::Slot> SchedulerCore::ChooseSlots(int* decode_rows,
                                                            std::vector<int>* chunks) {
  std::vector<Slot> all;
  std::vector<StepCandidate> candidates;
  std::vector<PrefixNode*> prefixes;  // that each candidate takes over first, or null
  PrefixSharing::Chunks taken;
  for (const auto& request : running_) {
    sharing_.Fork(*request);
    for (const auto& sequence : request->sequences) {
      if (!sequence) continue;
      const PrefixSharing::Turn turn = sharing_.TurnOf(*request, *sequence, taken);
      if (turn.waits) continue;
      all.push_back({request.get(), sequence.get()});
      candidates.push_back(
          {.tokens = sequence->StepTokensAt(turn.tokens), .prefill = sequence->prefilling()});
      prefixes.push_back(turn.prefix);
    }
  }
  const StepPlan plan = PlanStep(candidates, options_.max_prefill_rows);
  std::vector<Slot> slots;
  for (int i : plan.decode) slots.push_back(all[i]);
  for (int i : plan.prefill) {
    if (prefixes[i] && !sharing_.TakeOver(*all[i].request, *all[i].sequence, prefixes[i])) continue;
    slots.push_back(all[i]);
    chunks->push_back(candidates[i].tokens);
  }
  *decode_rows = static_cast<int>(plan.decode.size());
  return slots;
}

// Allocation may move extents, so the executor takes addresses only when all are in place.
StepWork SchedulerCore::AllocateExtents(const std::vector<Slot>& slots, int decode_rows) {
  StepWork work{.sequences = {}, .decode_rows = decode_rows};
  for (const Slot& slot : slots) {
    slot.sequence->cache().Allocate(slot.sequence->NextStepTokens());
    uint64_t own = 0, shared = 0;  // all share the same prefix, or a part of it
    for (const auto& sequence : slot.request->sequences) {
      if (!sequence) continue;
      own += sequence->cache().own_bytes();
      shared = std::max<uint64_t>(shared, sequence->cache().shared_bytes());
    }
    slot.request->peak_bytes = std::max(slot.request->peak_bytes, own + shared);
    work.sequences.push_back(slot.sequence);
  }
  return work;
}

bool SchedulerCore::RunStep() {
  requantizer_.Advance(running_);
  int decode_rows = 0;
  std::vector<int> chunks;
  const std::vector<Slot> slots = ChooseSlots(&decode_rows, &chunks);
  if (slots.empty()) return false;

  const auto start = parts_.now();
  std::vector<Slot> sampling;
  for (const Slot& slot : slots) {
    if (slot.sequence->NextStepSamples()) sampling.push_back(slot);
  }
  // Tokens are taken when the step has ended: a sequence that finishes frees extents the step still
  // reads.
  StepOutputs outputs{.sampled = std::vector<StepOutput>(sampling.size()), .not_finite = {}};
  const absl::Status status = parts_.executor->Run(AllocateExtents(slots, decode_rows), outputs);
  EndStep(slots, outputs, status.ok());
  stats_.SetProgress();
  stats_.OnStep(decode_rows, chunks, Seconds(parts_.now() - start));
  if (!status.ok()) {
    HandleFailure(slots, status);
    return true;
  }
  HandleNotFinite(slots, outputs);
  for (size_t i = 0; i < sampling.size(); ++i) {
    HandleOutput(sampling[i], std::move(outputs.sampled[i]));
  }
  return true;
}

// What is no number, or was not computed, is not left to other requests.
void SchedulerCore::EndStep(const std::vector<Slot>& slots, const StepOutputs& outputs, bool ok) {
  for (const Slot& slot : slots) {
    slot.sequence->cache().EndStep();
    if (ok && !IsNotFinite(outputs, slot.sequence)) sharing_.Share(*slot.request, *slot.sequence);
  }
}

// The step's requests have lost what it should have stored. With a lost device nothing works any
// more.
void SchedulerCore::HandleFailure(const std::vector<Slot>& slots, const absl::Status& status) {
  const absl::Status failed = Annotate(status, "a step failed");
  FinishWhere(running_, [&](const ActiveRequest& request) {
    const bool hit = std::any_of(slots.begin(), slots.end(),
                                 [&](const Slot& slot) { return slot.request == &request; });
    return hit ? failed : absl::OkStatus();
  });
  if (status.code() != absl::StatusCode::kInternal) return;
  failure_ =
      MakeError(absl::StatusCode::kUnavailable, "ENGINE_FAILED",
                absl::StrCat("the engine failed and waits to be restarted: ", status.message()));
  stats_.SetFailed(status);
  FinishAll(failure_);
}

void SchedulerCore::HandleNotFinite(const std::vector<Slot>& slots, const StepOutputs& outputs) {
  for (const Slot& slot : slots) {
    if (!IsNotFinite(outputs, slot.sequence) || !IsRunning(slot.request)) continue;
    Finish(slot.request, NumericalError("the model computed activations that are not finite"));
  }
}

bool SchedulerCore::IsRunning(const ActiveRequest* request) const {
  return std::any_of(running_.begin(), running_.end(),
                     [&](const auto& other) { return other.get() == request; });
}

void SchedulerCore::HandleOutput(const Slot& slot, StepOutput output) {
  ActiveRequest* request = slot.request;
  if (!IsRunning(request)) return;  // another of its sequences failed in this step
  absl::StatusOr<Delta> delta = slot.sequence->Accept(std::move(output));
  if (!delta.ok()) {
    Finish(request, delta.status());
    return;
  }
  const auto now = parts_.now();
  if (!request->first_token.has_value()) {
    request->first_token = now;
    stats_.OnFirstToken(*request);
  } else {
    stats_.OnNextToken(*request, Seconds(now - request->last_token));
  }
  request->last_token = now;

  const bool sequence_done = delta->finish_reason.has_value();
  request->sink->OnDelta(*std::move(delta));
  if (!sequence_done) return;
  if (--request->unfinished == 0) {
    Finish(request, absl::OkStatus());
    return;
  }
  for (auto& sequence : request->sequences) {
    if (sequence.get() != slot.sequence) continue;
    request->generated_tokens += sequence->generated_tokens();
    sequence.reset();
  }
}

}  // namespace kvpareto
