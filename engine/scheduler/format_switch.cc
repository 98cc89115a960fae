// How a SequenceCache goes on in a smaller format (declared in sequence_cache.h).
#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/scheduler/sequence_cache.h"

namespace kvpareto {
namespace {

// Clips only say how a codec encodes; everything else says what it encodes.
kv::Transforms WithoutClips(kv::Transforms transforms) {
  transforms.k_clip = transforms.v_clip = {};
  return transforms;
}

}  // namespace

bool SequenceCache::CanSwitch(const CacheFormat& to) const {
  const KvConfig& old_config = format_->config;
  const bool same_windows =
      old_config.sink_tokens == to.config.sink_tokens &&
      (!format_->footprint.seals || old_config.recent_tokens == to.config.recent_tokens);
  return same_windows && to.footprint.seals && old_config.open_codec() == to.config.open_codec() &&
         WithoutClips(old_config.transforms) == WithoutClips(to.config.transforms) &&
         CanRequantize(final_layout(), to.sealed);
}

void SequenceCache::Switch(std::shared_ptr<const CacheFormat> to) {
  KVP_CHECK(step_tokens_ == 0 && CanSwitch(*to)) << "cannot switch to " << to->config.ToString();
  old_formats_.push_back(std::exchange(format_, std::move(to)));
}

std::vector<size_t> SequenceCache::Excess(const CacheFormat& to, int first_block) const {
  std::vector<size_t> excess;
  for (int i = first_block; i < kv::FinalBlocks(to.footprint, num_tokens_); ++i) {
    const size_t bytes = arena_->Bytes(blocks_[i].extent);
    if (blocks_[i].layout != &to.sealed) excess.push_back(bytes - to.sealed.bytes());
  }
  return excess;
}

std::vector<RequantizeItem> SequenceCache::NextChanges(int max_blocks) {
  std::vector<RequantizeItem> items;
  const KvTransforms* const transforms = format_->transforms.get();
  for (int i = shared_blocks_; i < FinalBlocks() && static_cast<int>(items.size()) < max_blocks;
       ++i) {
    Block& block = blocks_[i];
    if (block.layout == &format_->sealed) continue;
    if (block.lent) prefixes_->Recall(std::exchange(block.lent, nullptr).get());
    RequantizeItem item{.data = arena_->Address(block.extent),
                        .from = block.layout,
                        .to = &format_->sealed,
                        .k_ranges = {},
                        .v_ranges = {}};
    if (transforms != nullptr) {
      item.k_ranges = transforms->AllKeyRanges();
      item.v_ranges = transforms->AllValueRanges();
    }
    items.push_back(item);
  }
  return items;
}

size_t SequenceCache::EndChanges(size_t blocks) {
  size_t changed_bytes = 0;
  for (int i = shared_blocks_; i < FinalBlocks() && blocks > 0; ++i) {
    Block& block = blocks_[i];
    if (block.layout == &format_->sealed) continue;
    const size_t bytes = arena_->Bytes(block.extent);
    arena_->Shrink(block.extent, format_->sealed.bytes());
    own_bytes_ -= bytes - format_->sealed.bytes();
    block.layout = &format_->sealed;
    changed_bytes += bytes;
    --blocks;
  }
  KVP_CHECK(blocks == 0) << blocks << " blocks too many";
  return changed_bytes;
}

void SequenceCache::TakeBack(const PrefixNode& node) {
  shared_blocks_ -= static_cast<int>(node.blocks.size());
  if (node.sink) sink_shared_ = false;
  shared_bytes_ -= node.bytes;
  own_bytes_ += node.bytes;
}

}  // namespace kvpareto
