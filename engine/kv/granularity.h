// Which elements of a tile share a scale and zero point: one type per granularity. Groups are
// rectangles of tokens x channels; a granularity says how many there are, which rectangle a group
// is, and which group an element belongs to. Group numbers are the order of the stored scales.
#pragma once

#include <string>

#include "engine/kv/codec.h"
#include "engine/kv/tile.h"

namespace kvpareto::kv {

struct GroupRegion {
  int first_token = 0;
  int tokens = 0;
  int first_channel = 0;
  int channels = 0;
};

// Groups of kChannels channels of one token; 0: the whole head vector. Group (channel / kChannels)
// * kBlockTokens + token: the scales of all tokens for one channel group are contiguous.
template <int kChannels>
struct PerToken {
  static constexpr Granularity kGranularity = Granularity::kPerToken;
  static constexpr int kGroupChannels = kChannels;
  static std::string Suffix() {
    return kChannels == 0 ? "token" : "token-g" + std::to_string(kChannels);
  }

  static constexpr int Width(int head_dim) { return kChannels == 0 ? head_dim : kChannels; }
  static constexpr bool Supports(int head_dim) { return head_dim % Width(head_dim) == 0; }
  static constexpr int Groups(int head_dim) { return kBlockTokens * (head_dim / Width(head_dim)); }
  static constexpr int GroupOf(int token, int channel, int head_dim) {
    return channel / Width(head_dim) * kBlockTokens + token;
  }
  static constexpr GroupRegion Region(int group, int head_dim) {
    return {group % kBlockTokens, 1, group / kBlockTokens * Width(head_dim), Width(head_dim)};
  }
};

// One channel over the tile's tokens; group = channel.
struct PerChannel {
  static constexpr Granularity kGranularity = Granularity::kPerChannel;
  static constexpr int kGroupChannels = 0;
  static std::string Suffix() { return "channel"; }

  static constexpr bool Supports(int /*head_dim*/) { return true; }
  static constexpr int Groups(int head_dim) { return head_dim; }
  static constexpr int GroupOf(int /*token*/, int channel, int /*head_dim*/) { return channel; }
  static constexpr GroupRegion Region(int group, int /*head_dim*/) {
    return {0, kBlockTokens, group, 1};
  }
};

// The whole tile.
struct PerBlock {
  static constexpr Granularity kGranularity = Granularity::kPerBlock;
  static constexpr int kGroupChannels = 0;
  static std::string Suffix() { return "block"; }

  static constexpr bool Supports(int /*head_dim*/) { return true; }
  static constexpr int Groups(int /*head_dim*/) { return 1; }
  static constexpr int GroupOf(int /*token*/, int /*channel*/, int /*head_dim*/) { return 0; }
  static constexpr GroupRegion Region(int /*group*/, int head_dim) {
    return {0, kBlockTokens, 0, head_dim};
  }
};

// The whole tile with a range known beforehand: nothing is stored.
struct PerTensor : PerBlock {
  static constexpr Granularity kGranularity = Granularity::kPerTensor;
  static std::string Suffix() { return "tensor"; }
};

}  // namespace kvpareto::kv
