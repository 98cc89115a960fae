#include "engine/scheduler/prefix_sharing.h"

#include <utility>
#include <vector>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

// Tokens of the prompt that all of the request's sequences have in common as whole chunks.
int64_t CommonTokens(const ActiveRequest& request) {
  return SharedPromptTokens(request.prepared.plan.config, request.prepared.prompt_tokens.size());
}

std::vector<kv::ExtentId> Extents(const PrefixNode& node) {
  std::vector<kv::ExtentId> extents;
  for (const auto& tail : node.tail) extents.push_back(tail->extent);
  return extents;
}

}  // namespace

// Whether the prompt is shared with other requests.
bool PrefixSharing::Keeps(const ActiveRequest& request) const {
  return request.prepared.request.use_prefix_cache && cache_.max_cached_bytes() > 0;
}

PrefixSharing::Hit PrefixSharing::Find(const ActiveRequest& request, const KvConfig& config) const {
  Hit hit;
  if (!Keeps(request) || cache_.domains().empty()) return hit;
  const Request& asked = request.prepared.request;
  PrefixDomain* const domain = cache_.Find({.service_class = asked.service_class,
                                            .salt = asked.cache_salt,
                                            .config = config.ToString()});
  if (domain == nullptr) return hit;
  const std::span<const int32_t> prompt = request.prepared.prompt_tokens;
  hit.prefix =
      cache_.Longest(&domain->root, prompt.first(prompt.size() - 1), config.prefill_chunk_tokens);
  for (const PrefixNode* node = hit.prefix; node != nullptr; node = node->parent) {
    hit.bytes += node->bytes;
    if (node->users > 0) hit.used_bytes += node->bytes;
  }
  return hit;
}

void PrefixSharing::Pin(ActiveRequest& request, PrefixNode* prefix) {
  cache_.Pin(prefix);
  request.pinned_prefix = prefix;
}

void PrefixSharing::Unpin(ActiveRequest& request) {
  if (request.pinned_prefix) cache_.Unpin(std::exchange(request.pinned_prefix, nullptr));
}

// Null: the request shares nothing. A request that may not share with others, but has several
// sequences, gets a domain of its own.
PrefixDomain* PrefixSharing::Enter(const ActiveRequest& request,
                                   std::shared_ptr<const CacheFormat> format) {
  const Request& asked = request.prepared.request;
  if (!SharesPrompts(format->config)) return nullptr;
  const bool keep = Keeps(request);
  if (!keep && asked.num_sequences == 1) return nullptr;
  // No salt of a client has a NUL in front (Preparer).
  const std::string salt =
      keep ? asked.cache_salt
           : std::string(1, '\0') + std::to_string(static_cast<uint64_t>(request.handle));
  const PrefixDomainKey key{
      .service_class = asked.service_class, .salt = salt, .config = format->config.ToString()};
  return cache_.Enter(key, request.config_label(), std::move(format), keep);
}

void PrefixSharing::Start(ActiveRequest& request, const std::shared_ptr<const CacheFormat>& format,
                          StepExecutor& executor) {
  for (int i = 0; i < request.prepared.request.num_sequences; ++i) {
    PrefixDomain* const domain = Enter(request, format);
    request.sequences.push_back(std::make_unique<Sequence>(
        SequenceSetup{.prompt = request.prepared.prompt_tokens,
                      .continuation = executor.Start(request.prepared, i),
                      .format = format,
                      .arena = arena_,
                      .prefixes = domain == nullptr ? nullptr : &cache_,
                      .prefix = domain == nullptr ? nullptr : &domain->root}));
  }
  Sequence& first = *request.sequences.front();
  if (PrefixNode* const hit = request.pinned_prefix) {
    first.TakeOver(hit, Extents(*hit));
    CountHit(request, first, hit->end_tokens);
    Unpin(request);
  }
}

void PrefixSharing::Fork(ActiveRequest& request) {
  if (request.sequences.size() == 1) return;
  const Sequence* const first = request.sequences.front().get();
  const int64_t common = CommonTokens(request);
  if (first == nullptr || common == 0 || first->cache().num_tokens() != common) return;
  for (size_t i = 1; i < request.sequences.size(); ++i) {
    Sequence& sequence = *request.sequences[i];
    if (sequence.cache().num_tokens() > 0) continue;
    sequence.TakeOver(first->prefix(), first->cache().TailExtents());
  }
}

PrefixSharing::Turn PrefixSharing::TurnOf(const ActiveRequest& request, const Sequence& sequence,
                                          Chunks& taken) {
  Turn turn{.waits = false, .prefix = nullptr, .tokens = sequence.cache().num_tokens()};
  if (!sequence.prefilling() || !sequence.at_prefix()) return turn;
  if (&sequence != request.sequences.front().get() && turn.tokens < CommonTokens(request)) {
    turn.waits = true;
    return turn;
  }
  turn.prefix = sequence.LongestPrefix();
  if (turn.prefix != nullptr) turn.tokens = turn.prefix->end_tokens;
  const int tokens = sequence.StepTokensAt(turn.tokens);
  const PrefixNode* const from = turn.prefix ? turn.prefix : sequence.prefix();
  const bool shared = tokens == sequence.cache().format().config.prefill_chunk_tokens;
  turn.waits =
      shared &&
      !taken.emplace(from, cache_.HashOf(*from, sequence.prompt().subspan(turn.tokens, tokens)))
           .second;
  if (turn.prefix != nullptr && !turn.waits) turn.prefix->continued = true;
  return turn;
}

bool PrefixSharing::TakeOver(ActiveRequest& request, Sequence& sequence, PrefixNode* prefix) {
  if (!prefix->has_tail) return false;
  const int64_t tokens = prefix->end_tokens - sequence.cache().num_tokens();
  const size_t before = sequence.cache().shared_bytes();
  sequence.TakeOver(prefix, Extents(*prefix));
  const size_t shared = sequence.cache().shared_bytes() - before;
  KVP_CHECK(shared <= request.reserved_bytes) << shared << " of " << request.reserved_bytes;
  arena_->Unreserve(shared);
  request.reserved_bytes -= shared;
  CountHit(request, sequence, tokens);
  return true;
}

void PrefixSharing::CountHit(ActiveRequest& request, const Sequence& sequence, int64_t tokens) {
  if (&sequence != request.sequences.front().get()) return;
  request.cached_prompt_tokens += tokens;
  counts_.hit_tokens += tokens;
}

void PrefixSharing::Share(ActiveRequest& request, Sequence& sequence) {
  const PrefixNode* const prefix = sequence.prefix();
  if (prefix == nullptr || prefix->end_tokens >= sequence.prompt_tokens()) return;
  const int64_t computed = sequence.cache().num_tokens() - prefix->end_tokens;
  request.reserved_bytes -= sequence.SharePrefix();
  const bool whole_prompt = sequence.cache().num_tokens() == sequence.prompt_tokens();
  const bool shared = sequence.prefix() != prefix;
  if (prefix->domain->keep && (shared || whole_prompt)) counts_.miss_tokens += computed;
}

}  // namespace kvpareto
