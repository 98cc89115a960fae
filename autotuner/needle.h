// Needles in a haystack, many in one text: what a cache must keep to answer questions about it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "autotuner/fidelity_list.h"
#include "engine/engine.h"

namespace kvpareto::tune {

struct NeedleOptions {
  int documents = 3;
  int keys = 8;           // needles in each document, one question each
  int64_t tokens = 2800;  // of a document, about
  uint64_t seed = 1;
};

struct NeedleQuestion {
  std::vector<int32_t> tokens;  // document, question and answer
  int64_t question_begin = 0;   // the first token after the document
  int64_t answer_begin = 0;     // the first token of the value
};

// Documents are cut from `haystack` (prose with sentences) at seeded places; every needle says "One
// of the special magic numbers for KEY is: VALUE." at a seeded sentence border; the key of a
// question is one of its document's. Errors: of Engine::Tokenize; INVALID_ARGUMENT
// (TEXT_TOO_SHORT).
absl::StatusOr<std::vector<NeedleQuestion>> MakeNeedles(const Engine& engine,
                                                        const std::string& haystack,
                                                        const NeedleOptions& options);

// How many questions the cache answers: the most likely token is right at every token of the value.
// The document goes through the model in prefill chunks, the question as generated tokens do.
absl::StatusOr<int> CountAnswered(Engine& engine, const std::vector<NeedleQuestion>& questions,
                                  const MeasuredConfig& measured);

}  // namespace kvpareto::tune
