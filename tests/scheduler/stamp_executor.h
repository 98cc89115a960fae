// A step executor that checks memory instead of computing: every token's slot holds a stamp of its
// sequence's tokens up to there, and every step reads all of them again. So an extent that is
// shared, copied, moved or freed wrongly shows at the next step of whoever reads it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "engine/scheduler/step_executor.h"

namespace kvpareto {

// Says pseudo-random tokens that follow from all tokens before, until max_tokens.
class StampContinuation final : public Continuation {
 public:
  StampContinuation(const PreparedRequest& prepared, int index)
      : index_(index),
        end_(static_cast<int64_t>(prepared.prompt_tokens.size()) + prepared.max_tokens),
        tokens_(prepared.prompt_tokens) {}

  static uint64_t Mix(uint64_t stamp, int32_t token) {
    stamp = (stamp ^ static_cast<uint32_t>(token)) * 0x9e3779b97f4a7c15u;
    return stamp ^ (stamp >> 29);
  }

  int64_t num_tokens() const override { return static_cast<int64_t>(tokens_.size()); }
  std::span<const int32_t> tokens() const override { return tokens_; }
  absl::StatusOr<Delta> Accept(StepOutput) override {
    uint64_t stamp = index_;
    for (const int32_t token : tokens_) stamp = Mix(stamp, token);
    tokens_.push_back(static_cast<int32_t>(stamp % 50));
    Delta delta{.sequence = index_};
    delta.tokens.push_back({.token = tokens_.back()});
    if (num_tokens() >= end_) delta.finish_reason = FinishReason::kLength;
    return delta;
  }

 private:
  const int index_;
  const int64_t end_;
  std::vector<int32_t> tokens_;
};

class StampExecutor final : public StepExecutor {
 public:
  StampExecutor() : chunk_layout_(kv::BlockLayout::Bf16(1, 1, 64)), chunk_(kTiles * kTileBytes) {}

  std::unique_ptr<Continuation> Start(const PreparedRequest& prepared, int index) override {
    return std::make_unique<StampContinuation>(prepared, index);
  }

  absl::Status Run(const StepWork& work, StepOutputs&) override {
    size_t tile = 0;
    std::vector<SequenceStep> steps;
    for (const Sequence* sequence : work.sequences) {
      steps.push_back(sequence->cache().Describe(0, [&] {
        EXPECT_LT(tile, kTiles);
        return BlockSpan{.data = chunk_.data() + tile++ * kTileBytes,
                         .layout = &chunk_layout_,
                         .one_layer = true};
      }));
    }
    for (size_t i = 0; i < steps.size(); ++i) RunSequence(*work.sequences[i], steps[i]);
    return absl::OkStatus();
  }

  // Stamps stand at the beginning of a block, whatever its codec: re-encoding leaves them there.
  void Requantize(std::span<const RequantizeItem> items) override {
    for (const RequantizeItem& item : items) EXPECT_TRUE(CanRequantize(*item.from, *item.to));
    requantized_blocks += items.size();
  }

  uint64_t checked_tokens = 0;
  uint64_t requantized_blocks = 0;

 private:
  static constexpr size_t kTiles = 64;
  static constexpr size_t kTileBytes = kv::kBlockTokens * sizeof(uint64_t);

  static std::byte* Slot(const BlockSpan& span, int64_t position) {
    return span.data + (span.first_slot + position - span.first_position) * sizeof(uint64_t);
  }

  void RunSequence(const Sequence& sequence, const SequenceStep& step) {
    // What the cache must hold: stamps of all tokens, of the step's too.
    std::vector<uint64_t> stamps;
    uint64_t stamp = 1;
    const int64_t end = step.first_position + step.num_rows;
    for (const int32_t token : sequence.tokens().first(end)) {
      stamps.push_back(stamp = StampContinuation::Mix(stamp, token));
    }
    for (const SequenceStep::Store& store : step.stores) {
      const BlockSpan& span = store.destination;
      for (int64_t p = span.first_position; p < span.first_position + span.num_tokens; ++p) {
        std::memcpy(Slot(span, p), &stamps[p], sizeof(uint64_t));
      }
    }
    int64_t next = 0;
    for (const BlockSpan& span : step.reads) {
      ASSERT_EQ(span.first_position, next);
      for (; next < span.first_position + span.num_tokens; ++next) {
        uint64_t held = 0;
        std::memcpy(&held, Slot(span, next), sizeof(held));
        ASSERT_EQ(held, stamps[next]) << "position " << next << " of " << end;
        ++checked_tokens;
      }
    }
    ASSERT_EQ(next, end);
    for (const SequenceStep::Seal& seal : step.seals) {
      std::memcpy(seal.destination.data, seal.source.data, kTileBytes);
    }
  }

  kv::BlockLayout chunk_layout_;
  std::vector<std::byte> chunk_;
};

}  // namespace kvpareto
