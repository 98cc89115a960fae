// The nodes of the prefix cache (prefix_cache.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/kv/arena.h"
#include "engine/scheduler/cache_format.h"

namespace kvpareto {

struct PrefixDomain;
struct PrefixNode;

// A block that a prefix ends in but that a later step changes: one of the recent window, or the
// open one, which the sequence that fills it goes on filling. Later tokens do not disturb those of
// the prefix; whoever continues the prefix copies the extent.
struct TailExtent {
  kv::ExtentId extent{};
  size_t bytes = 0;
  // By the sequence that made it, within its promise; or by the prefix in which it became final
  // (where nothing is sealed): it goes with that, not alone.
  bool held = true;
  std::vector<PrefixNode*> nodes;  // prefixes that end in it
};

// A prefix: its parent's and one whole prefill chunk.
struct PrefixNode {
  PrefixDomain* domain = nullptr;
  PrefixNode* parent = nullptr;  // null: the root, the empty prefix
  uint64_t hash = 0;             // of the whole prefix: of the parent's hash and the chunk's tokens
  std::vector<int32_t> tokens;   // of the chunk
  int64_t end_tokens = 0;        // of the whole prefix

  // What became final in the chunk (kv::FinalBlocks).
  std::optional<kv::ExtentId> sink;
  std::vector<kv::ExtentId> blocks;
  size_t bytes = 0;                                      // of sink and blocks
  std::vector<std::shared_ptr<TailExtent>> owned_tails;  // those of blocks that end prefixes, too
  // Without its tail a prefix cannot be continued, only passed through.
  bool has_tail = false;
  std::vector<std::shared_ptr<TailExtent>> tail;
  bool continued = false;  // by others than its maker, or about to be

  int users = 0;     // sequences that run on this prefix or a longer one
  int children = 0;  // nodes whose parent this is
  int pins = 0;      // requests that are being admitted to go on from here: its tail goes last

  // Of PrefixCache's clock, when last used; and where the node stands in the order of eviction.
  double used_at = 0.0;
  double tail_used_at = 0.0;
  std::optional<std::pair<double, uint64_t>> place;
};

struct PrefixDomainKey {
  std::string service_class;
  std::string salt;    // within the class; sequences of different salts share nothing
  std::string config;  // text form, prefill chunk included: it decides what a query read exactly
  friend auto operator<=>(const PrefixDomainKey&, const PrefixDomainKey&) = default;
};

// The prefixes that may be shared: of one service class, salt and KV config.
struct PrefixDomain {
  PrefixDomainKey key;
  std::string config_label;  // in metrics
  std::shared_ptr<const CacheFormat> format;
  bool keep = true;  // false: what nobody runs on goes at once
  PrefixNode root;
  size_t used_bytes = 0;    // of nodes that somebody runs on: reserved in the arena
  size_t cached_bytes = 0;  // of the others and of tails that nobody holds
};

}  // namespace kvpareto
