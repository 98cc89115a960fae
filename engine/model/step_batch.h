// One step's work for the model: which tokens of which sequences, where their keys and values go,
// and what they may read. Built by the scheduler, consumed by the Transformer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/kv/block_layout.h"
#include "engine/model/kv_transforms.h"
#include "engine/ops/sample.h"

namespace kvpareto {

// Consecutive tokens of a sequence in one extent, for all layers.
struct BlockSpan {
  std::byte* data = nullptr;
  const kv::BlockLayout* layout = nullptr;
  bool one_layer = false;  // a tile of the chunk buffer: every layer uses layer 0's place in turn
  int first_slot = 0;
  int num_tokens = 0;
  int first_position = 0;

  const kv::LayerLayout& ForLayer(int layer) const { return layout->layer(one_layer ? 0 : layer); }
};

// What one sequence does in a step. Rows [first_row, first_row + num_rows) of the batch are its new
// tokens, at positions first_position, first_position + 1, ...
struct SequenceStep {
  int first_row = 0;
  int num_rows = 0;
  int first_position = 0;
  const KvTransforms* transforms = nullptr;  // outlives the step

  struct Store {
    BlockSpan destination;  // bf16
    int first_row = 0;      // of the batch
  };
  struct Seal {
    BlockSpan source;  // a full bf16 block
    BlockSpan destination;
  };
  std::vector<BlockSpan> reads;  // in position order, the new tokens included
  std::vector<Store> stores;
  std::vector<Store> stores_after_filter;  // Transformer::SetWriteFilter
  std::vector<Seal> seals;
};

// Decode sequences (num_rows == 1, rows from 0) stand before prefill sequences.
struct StepBatch {
  std::vector<int32_t> tokens;     // [rows]
  std::vector<int32_t> positions;  // [rows]
  int decode_rows = 0;
  std::vector<SequenceStep> sequences;
  std::vector<int32_t> logit_rows;  // rows whose logits are wanted, ascending
  // By entry of logit_rows: how the backend chooses a token from them; nothing: they go to the
  // host. Empty: all do. SampleRow::row is not used.
  std::vector<std::optional<SampleRow>> sampling;
  // All rows of prefill chunks are wanted (teacher forcing): their logits may come from the prefill
  // kernel.
  bool scoring = false;

  int rows() const { return static_cast<int>(tokens.size()); }
};

}  // namespace kvpareto
