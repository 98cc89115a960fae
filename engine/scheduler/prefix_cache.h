// The prefix cache: keys and values of prompts, kept to be shared by sequences that begin alike.
//
// A tree per domain (service class, salt, KV config), a node per whole prefill chunk. Nodes are
// found by a chained hash of their tokens and confirmed by comparing tokens and parent, so a
// collision costs time and nothing else. A node owns the blocks that became final in its chunk, and
// refers to the blocks of its recent window and its open block (TailExtent).
//
// Bytes of a node that somebody runs on are reserved in the arena, once, whoever runs on it; all
// others are the arena's cached bytes, and a promise to a request takes them whenever it needs
// them.
//
// What goes first is decided by GreedyDual-Size (Cao and Irani, USENIX Symposium on Internet
// Technologies and Systems 1997): a node's worth is the clock at its last use plus the cost of
// computing it again per byte, and the clock is the worth of what was evicted last. A node goes
// after its children; the tail of a prefix that has longer ones may go alone.
//
// A tail is bf16, so one behind every chunk would take more than the chunk's encoded blocks. Only
// some prefixes keep theirs when their maker has gone on (ThinTail).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>

#include "engine/scheduler/prefix_tree.h"

namespace kvpareto {

struct PrefixCacheOptions {
  size_t max_cached_bytes = 0;  // of what nobody runs on
  // Context at which a token's attention costs as much as its linear layers.
  double attention_tokens = 4096;
  // Hash of a prefix from its parent's and its chunk. Null: the built-in one.
  std::function<uint64_t(uint64_t parent, std::span<const int32_t> tokens)> hash;
};

// Not thread-safe: owned by the engine thread.
class PrefixCache {
 public:
  // `arena` outlives the cache, which becomes its reclaimer.
  PrefixCache(PrefixCacheOptions options, kv::Arena* arena);
  // Nobody runs on anything any more.
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // The domain of that key, for whose root the caller becomes a user (Leave). `config_label` and
  // `format` are those of key.config.
  PrefixDomain* Enter(const PrefixDomainKey& key, const std::string& config_label,
                      std::shared_ptr<const CacheFormat> format, bool keep = true);

  // The domain of that key, or null.
  PrefixDomain* Find(const PrefixDomainKey& key) const;

  // The prefix that continues `node` by `chunk`, or null.
  PrefixNode* Child(const PrefixNode* node, std::span<const int32_t> chunk) const;
  uint64_t HashOf(const PrefixNode& parent, std::span<const int32_t> chunk) const {
    return Hash(parent.hash, chunk);
  }
  // The longest prefix behind `node` along `tokens` that can be continued, or null.
  PrefixNode* Longest(PrefixNode* node, std::span<const int32_t> tokens, int chunk_tokens) const;

  // A user of `from` becomes one of `to`, a descendant.
  void Advance(PrefixNode* from, PrefixNode* to);
  // A user of `node` is none any more. May delete the node, and the domain.
  void Leave(PrefixNode* node);

  // Makes the caller a user of `node`, whose tail goes after all others until Unpin.
  void Pin(PrefixNode* node);
  void Unpin(PrefixNode* node);

  // The state of a sequence behind a chunk.
  struct State {
    std::span<const int32_t> tokens;  // of the chunk
    std::optional<kv::ExtentId> sink;
    std::vector<kv::ExtentId> blocks;
    std::vector<std::shared_ptr<TailExtent>> lent_blocks;  // those of `blocks` that were lent
    std::vector<std::shared_ptr<TailExtent>> tail;
  };
  // Makes a user of `parent` one of a new child, that has none of these tokens yet. The state's
  // final bytes leave the caller's promise for the cache's: the arena's sum stays.
  PrefixNode* Add(PrefixNode* parent, const State& state);
  // Gives a prefix that cannot be continued a tail.
  void SetTail(PrefixNode* node, std::vector<std::shared_ptr<TailExtent>> tail);
  // Its maker has gone on from `node`: drops its tail, unless others have gone on from here, too,
  // or so much has become final since the last prefix with a tail that one more is cheap.
  void ThinTail(PrefixNode* node);

  // Takes the caller's node, of which it is the only user and that nothing continues, out of the
  // cache: its final bytes are the caller's promise's again, and the caller a user of the parent.
  bool CanWithdraw(const PrefixNode* node) const {
    return node->parent != nullptr && node->users == 1 && node->children == 0;
  }
  void Withdraw(PrefixNode* node);
  // Prefixes no longer end in an extent that its maker holds.
  void Recall(TailExtent* tail);

  // The maker of the extent is done with it: its bytes become cached if a prefix ends in it and
  // there is room, free otherwise.
  void ReleaseTail(TailExtent* tail);
  // Evicts, the least worth first, until `bytes` fewer are cached or nothing is left. Returns the
  // evicted bytes.
  size_t Evict(size_t bytes);

  // Evicts what is above the limit. Nothing else does, but for Leave and promises, so that what has
  // been found stays until it is used.
  void Trim();

  size_t cached_bytes() const { return cached_bytes_; }
  size_t used_bytes() const { return used_bytes_; }
  size_t max_cached_bytes() const { return options_.max_cached_bytes; }
  const std::map<PrefixDomainKey, std::unique_ptr<PrefixDomain>>& domains() const {
    return domains_;
  }
  // Since the start, by config label.
  const std::map<std::string, uint64_t>& evicted_bytes_total() const { return evicted_bytes_; }

 private:
  uint64_t Hash(uint64_t parent, std::span<const int32_t> tokens) const;
  double Cost(const PrefixNode& node) const;
  void SetUsed(PrefixNode* node, bool used);
  void AddCached(PrefixDomain* domain, size_t bytes);
  void RemoveCached(PrefixDomain* domain, size_t bytes);
  // Puts the node where it belongs in the order of eviction.
  void Place(PrefixNode* node);
  void EvictFirst();
  void DropTail(PrefixNode* node);
  void Delete(PrefixNode* node);
  // Takes the node out of the tree; its extents are the caller's business.
  void Unlink(PrefixNode* node);
  void DeleteIfEmpty(PrefixDomain* domain);

  const PrefixCacheOptions options_;
  kv::Arena* const arena_;
  std::map<PrefixDomainKey, std::unique_ptr<PrefixDomain>> domains_;
  std::unordered_multimap<uint64_t, std::unique_ptr<PrefixNode>> nodes_;  // by hash
  std::map<std::pair<double, uint64_t>, PrefixNode*> evictable_;          // worth, order
  std::map<std::string, uint64_t> evicted_bytes_;
  size_t cached_bytes_ = 0;
  size_t used_bytes_ = 0;
  double clock_ = 0.0;
  uint64_t next_place_ = 0;  // breaks ties: the older one goes first
  uint64_t domains_made_ = 0;
};

}  // namespace kvpareto
