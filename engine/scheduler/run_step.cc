// The Scheduler's steps: building a batch, running it, handing out what it produced.
#include <algorithm>

#include "engine/base/check.h"
#include "engine/scheduler/scheduler.h"
#include "engine/scheduler/step_planner.h"

namespace kvpareto {

// The step's sequences, decoding ones first.
std::vector<Scheduler::Slot> Scheduler::ChooseSlots(int* decode_rows,
                                                    std::vector<int>* chunks) const {
  std::vector<Slot> all;
  std::vector<StepCandidate> candidates;
  for (const auto& request : running_) {
    for (const auto& sequence : request->sequences) {
      if (!sequence) continue;
      all.push_back({request.get(), sequence.get()});
      candidates.push_back(
          {.tokens = sequence->NextStepTokens(), .prefill = sequence->prefilling()});
    }
  }
  const StepPlan plan = PlanStep(candidates, options_.max_prefill_rows);
  std::vector<Slot> slots;
  for (int i : plan.decode) slots.push_back(all[i]);
  for (int i : plan.prefill) {
    slots.push_back(all[i]);
    chunks->push_back(candidates[i].tokens);
  }
  *decode_rows = static_cast<int>(plan.decode.size());
  return slots;
}

StepBatch Scheduler::BuildBatch(const std::vector<Slot>& slots, int decode_rows) {
  // Two passes: allocation may move extents, so addresses are taken only when all are in place.
  for (const Slot& slot : slots) {
    slot.sequence->cache().Allocate(slot.sequence->NextStepTokens());
    uint64_t allocated = 0;
    for (const auto& sequence : slot.request->sequences) {
      if (sequence) allocated += sequence->cache().allocated_bytes();
    }
    slot.request->peak_bytes = std::max(slot.request->peak_bytes, allocated);
  }
  StepBatch batch{.decode_rows = decode_rows};
  int chunk_tile = 0;
  for (const Slot& slot : slots) {
    const std::span<const int32_t> tokens = slot.sequence->NextTokens();
    const int64_t first_position = slot.sequence->cache().num_tokens();
    batch.sequences.push_back(slot.sequence->cache().Describe(
        batch.rows(), [&] { return transformer_->ChunkTile(chunk_tile++); }));
    for (size_t i = 0; i < tokens.size(); ++i) {
      batch.tokens.push_back(tokens[i]);
      batch.positions.push_back(static_cast<int32_t>(first_position + i));
    }
    if (slot.sequence->NextStepSamples()) batch.logit_rows.push_back(batch.rows() - 1);
  }
  return batch;
}

bool Scheduler::RunStep() {
  int decode_rows = 0;
  std::vector<int> chunks;
  const std::vector<Slot> slots = ChooseSlots(&decode_rows, &chunks);
  if (slots.empty()) return false;

  const auto start = Clock::now();
  stats_.SetStepStart(start);
  std::vector<Slot> sampling;  // in the order of batch.logit_rows
  for (const Slot& slot : slots) {
    if (slot.sequence->NextStepSamples()) sampling.push_back(slot);
  }
  const StepBatch batch = BuildBatch(slots, decode_rows);

  // Sampling waits until the step has ended: a sequence that finishes frees extents the step still
  // reads.
  std::vector<std::vector<float>> logits(sampling.size());
  const absl::Status status =
      transformer_->Forward(batch, [&](int first, int rows, std::span<float> values) {
        const size_t vocab = values.size() / rows;
        for (int i = 0; i < rows; ++i) {
          const auto row = values.subspan(i * vocab, vocab);
          logits[first + i].assign(row.begin(), row.end());
        }
      });
  for (const Slot& slot : slots) slot.sequence->cache().EndStep();
  stats_.ClearStepStart();
  stats_.OnStep(decode_rows, chunks, Seconds(Clock::now() - start));
  if (!status.ok()) {
    FinishAll(Annotate(status, "the device failed"));
    return true;
  }
  for (size_t i = 0; i < sampling.size(); ++i) HandleLogits(sampling[i], logits[i]);
  return true;
}

void Scheduler::HandleLogits(const Slot& slot, std::span<float> logits) {
  ActiveRequest* request = slot.request;
  const bool still_running = std::any_of(running_.begin(), running_.end(),
                                         [&](const auto& other) { return other.get() == request; });
  if (!still_running) return;  // another of its sequences failed in this step
  absl::StatusOr<Delta> delta = slot.sequence->Accept(logits);
  if (!delta.ok()) {
    Finish(request, delta.status());
    return;
  }
  const auto now = Clock::now();
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

absl::Status Scheduler::RunScore(const ScoreInput& input) {
  KVP_ASSIGN_OR_RETURN(auto format, formats_.Get(input.config));
  return ScoreRun(input, std::move(format), transformer_, arena_).Run();
}

}  // namespace kvpareto
