#include "engine/scheduler/prefix_cache.h"

#include <algorithm>
#include <limits>

#include "engine/base/check.h"

namespace kvpareto {
namespace {

// Final bytes from one kept tail to the next, per byte of the tail: tails take a fifth of the cache
// at most, and a prompt that leaves a cached one between two of them computes only as much again.
constexpr size_t kFinalBytesPerTailByte = 4;

uint64_t ChainedHash(uint64_t parent, std::span<const int32_t> tokens) {
  uint64_t hash = parent + 0x9e3779b97f4a7c15u;
  for (const int32_t token : tokens) {
    hash = (hash ^ static_cast<uint32_t>(token)) * 0xbf58476d1ce4e5b9u;
    hash ^= hash >> 31;
  }
  return hash;
}

// Bytes that dropping the node's tail would free, shared ones by share.
double TailBytes(const PrefixNode& node) {
  double bytes = 0;
  for (const auto& tail : node.tail) {
    if (!tail->held) bytes += static_cast<double>(tail->bytes) / tail->nodes.size();
  }
  return bytes;
}

}  // namespace

PrefixCache::PrefixCache(PrefixCacheOptions options, kv::Arena* arena)
    : options_(std::move(options)), arena_(arena) {
  arena_->SetReclaim([this](size_t bytes) { Evict(bytes); });
}

PrefixCache::~PrefixCache() {
  Evict(cached_bytes_);
  KVP_CHECK(used_bytes_ == 0 && cached_bytes_ == 0)
      << used_bytes_ << " bytes used, " << cached_bytes_ << " cached";
  arena_->SetReclaim(nullptr);
}

uint64_t PrefixCache::Hash(uint64_t parent, std::span<const int32_t> tokens) const {
  return options_.hash ? options_.hash(parent, tokens) : ChainedHash(parent, tokens);
}

// Of computing the node's chunk, in tokens of an empty context.
double PrefixCache::Cost(const PrefixNode& node) const {
  return node.tokens.size() * (1.0 + node.end_tokens / options_.attention_tokens);
}

PrefixDomain* PrefixCache::Enter(const PrefixDomainKey& key, const std::string& config_label,
                                 std::shared_ptr<const CacheFormat> format, bool keep) {
  std::unique_ptr<PrefixDomain>& domain = domains_[key];
  if (domain == nullptr) {
    domain = std::make_unique<PrefixDomain>();
    domain->key = key;
    domain->config_label = config_label;
    domain->format = std::move(format);
    domain->keep = keep;
    domain->root.domain = domain.get();
    domain->root.hash = Hash(++domains_made_, {});  // another one in every domain
  }
  ++domain->root.users;
  return domain.get();
}

PrefixDomain* PrefixCache::Find(const PrefixDomainKey& key) const {
  const auto found = domains_.find(key);
  return found == domains_.end() ? nullptr : found->second.get();
}

PrefixNode* PrefixCache::Child(const PrefixNode* node, std::span<const int32_t> chunk) const {
  const auto [begin, end] = nodes_.equal_range(Hash(node->hash, chunk));
  for (auto it = begin; it != end; ++it) {
    PrefixNode* child = it->second.get();
    if (child->parent == node && std::ranges::equal(child->tokens, chunk)) return child;
  }
  return nullptr;
}

PrefixNode* PrefixCache::Longest(PrefixNode* node, std::span<const int32_t> tokens,
                                 int chunk_tokens) const {
  PrefixNode* longest = nullptr;
  const size_t chunk = chunk_tokens;
  for (size_t begin = 0; begin + chunk <= tokens.size(); begin += chunk) {
    node = Child(node, tokens.subspan(begin, chunk));
    if (node == nullptr) break;
    if (node->has_tail) longest = node;
  }
  return longest;
}

void PrefixCache::Advance(PrefixNode* from, PrefixNode* to) {
  to->tail_used_at = clock_;
  for (PrefixNode* node = to; node != from; node = node->parent) {
    KVP_CHECK(node != nullptr) << "not a descendant";
    if (node->users++ == 0) SetUsed(node, true);
    Place(node);
  }
}

void PrefixCache::Leave(PrefixNode* node) {
  PrefixDomain* const domain = node->domain;
  for (PrefixNode* parent; node != nullptr; node = parent) {
    parent = node->parent;
    node->used_at = clock_;
    if (--node->users > 0 || parent == nullptr) continue;
    SetUsed(node, false);
    Place(node);
    if (!domain->keep && node->children == 0) Delete(node);
  }
  DeleteIfEmpty(domain);
  Trim();
}

void PrefixCache::Pin(PrefixNode* node) {
  ++node->pins;
  ++node->domain->root.users;
  Advance(&node->domain->root, node);
}

void PrefixCache::Unpin(PrefixNode* node) {
  --node->pins;
  Place(node);
  Leave(node);
}

void PrefixCache::SetUsed(PrefixNode* node, bool used) {
  if (used) {
    RemoveCached(node->domain, node->bytes);
    arena_->Reuse(node->bytes);
    used_bytes_ += node->bytes;
    node->domain->used_bytes += node->bytes;
  } else {
    used_bytes_ -= node->bytes;
    node->domain->used_bytes -= node->bytes;
    arena_->Retain(node->bytes);
    AddCached(node->domain, node->bytes);
  }
}

void PrefixCache::AddCached(PrefixDomain* domain, size_t bytes) {
  cached_bytes_ += bytes;
  domain->cached_bytes += bytes;
}

void PrefixCache::RemoveCached(PrefixDomain* domain, size_t bytes) {
  cached_bytes_ -= bytes;
  domain->cached_bytes -= bytes;
}

PrefixNode* PrefixCache::Add(PrefixNode* parent, const State& state) {
  auto owned = std::make_unique<PrefixNode>();
  PrefixNode* node = owned.get();
  node->domain = parent->domain;
  node->parent = parent;
  node->hash = Hash(parent->hash, state.tokens);
  node->tokens.assign(state.tokens.begin(), state.tokens.end());
  node->end_tokens = parent->end_tokens + state.tokens.size();
  node->sink = state.sink;
  node->blocks = state.blocks;
  if (node->sink) node->bytes += arena_->Bytes(*node->sink);
  for (kv::ExtentId block : node->blocks) node->bytes += arena_->Bytes(block);
  node->owned_tails = state.lent_blocks;
  node->users = 1;
  used_bytes_ += node->bytes;
  node->domain->used_bytes += node->bytes;
  nodes_.emplace(node->hash, std::move(owned));
  ++parent->children;
  Place(parent);
  SetTail(node, state.tail);
  return node;
}

void PrefixCache::SetTail(PrefixNode* node, std::vector<std::shared_ptr<TailExtent>> tail) {
  KVP_CHECK(!node->has_tail) << "the prefix has a tail";
  node->has_tail = true;
  node->tail_used_at = clock_;
  node->tail = std::move(tail);
  for (const auto& extent : node->tail) extent->nodes.push_back(node);
  Place(node);
}

void PrefixCache::ThinTail(PrefixNode* node) {
  if (!node->has_tail || node->continued || node->children > 1) return;
  if (!node->domain->format->footprint.seals) return;  // they will be final blocks, at no cost
  size_t tail_bytes = 0, final_bytes = node->bytes;
  for (const auto& tail : node->tail) tail_bytes += tail->bytes;
  for (const PrefixNode* at = node->parent; at->parent != nullptr && !at->has_tail;
       at = at->parent) {
    final_bytes += at->bytes;
  }
  if (final_bytes < kFinalBytesPerTailByte * tail_bytes) DropTail(node);
}

void PrefixCache::ReleaseTail(TailExtent* tail) {
  tail->held = false;
  const kv::ArenaStats stats = arena_->stats();
  const size_t room = stats.capacity_bytes - stats.reserved_bytes - stats.cached_bytes;
  if (tail->nodes.empty()) {
    arena_->Free(tail->extent);
  } else if (tail->bytes <= room) {
    // Not the promise under which it was allocated, which goes on: bytes of its own.
    KVP_CHECK(arena_->Reserve(tail->bytes));
    arena_->Retain(tail->bytes);
    AddCached(tail->nodes.front()->domain, tail->bytes);
    for (PrefixNode* node : tail->nodes) Place(node);
  } else {
    tail->held = true;  // nothing is cached of what goes now
    Recall(tail);
    arena_->Free(tail->extent);
  }
}

void PrefixCache::Place(PrefixNode* node) {
  if (node->place) evictable_.erase(*std::exchange(node->place, std::nullopt));
  if (node->parent == nullptr) return;
  const double tail_bytes = TailBytes(*node);
  double worth = 0.0;
  if (node->users == 0 && node->children == 0) {
    const double bytes = std::max(1.0, static_cast<double>(node->bytes) + tail_bytes);
    worth = std::max(node->used_at, node->tail_used_at) + Cost(*node) / bytes;
  } else if (tail_bytes > 0) {
    worth = node->tail_used_at + Cost(*node) / tail_bytes;
  } else {
    return;
  }
  if (node->pins > 0) worth = std::numeric_limits<double>::infinity();
  node->place = {worth, next_place_++};
  evictable_.emplace(*node->place, node);
}

size_t PrefixCache::Evict(size_t bytes) {
  const size_t before = cached_bytes_;
  while (before - cached_bytes_ < bytes && !evictable_.empty()) EvictFirst();
  return before - cached_bytes_;
}

void PrefixCache::EvictFirst() {
  const auto [place, node] = *evictable_.begin();
  if (node->pins == 0) clock_ = std::max(clock_, place.first);
  const std::string label = node->domain->config_label;
  const size_t before = cached_bytes_;
  if (node->users == 0 && node->children == 0) {
    PrefixDomain* const domain = node->domain;
    Delete(node);
    DeleteIfEmpty(domain);
  } else {
    DropTail(node);
  }
  evicted_bytes_[label] += before - cached_bytes_;
}

void PrefixCache::DropTail(PrefixNode* node) {
  node->has_tail = false;
  for (const auto& tail : std::exchange(node->tail, {})) {
    std::erase(tail->nodes, node);
    if (tail->nodes.empty() && !tail->held) {
      RemoveCached(node->domain, tail->bytes);
      arena_->Evict(tail->extent);
    }
    for (PrefixNode* other : tail->nodes) Place(other);
  }
  Place(node);
}

void PrefixCache::Delete(PrefixNode* node) {
  RemoveCached(node->domain, node->bytes);
  const std::optional<kv::ExtentId> sink = node->sink;
  const std::vector<kv::ExtentId> blocks = node->blocks;
  Unlink(node);
  if (sink) arena_->Evict(*sink);
  for (kv::ExtentId block : blocks) arena_->Evict(block);
}

void PrefixCache::Unlink(PrefixNode* node) {
  DropTail(node);
  for (const auto& tail : node->owned_tails) Recall(tail.get());
  if (node->place) evictable_.erase(*std::exchange(node->place, std::nullopt));
  --node->parent->children;
  Place(node->parent);
  const auto [begin, end] = nodes_.equal_range(node->hash);
  nodes_.erase(std::find_if(begin, end, [&](const auto& it) { return it.second.get() == node; }));
}

void PrefixCache::Withdraw(PrefixNode* node) {
  KVP_CHECK(CanWithdraw(node));
  used_bytes_ -= node->bytes;
  node->domain->used_bytes -= node->bytes;
  Unlink(node);
}

void PrefixCache::Recall(TailExtent* tail) {
  const std::vector<PrefixNode*> nodes = tail->nodes;
  for (PrefixNode* node : nodes) DropTail(node);
}

void PrefixCache::DeleteIfEmpty(PrefixDomain* domain) {
  if (domain->root.users > 0 || domain->root.children > 0) return;
  domains_.erase(PrefixDomainKey(domain->key));
}

void PrefixCache::Trim() {
  if (cached_bytes_ > options_.max_cached_bytes) {
    Evict(cached_bytes_ - options_.max_cached_bytes);
  }
}

}  // namespace kvpareto
