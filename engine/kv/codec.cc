#include "engine/kv/codec.h"

#include <array>
#include <string>
#include <type_traits>
#include <utility>

#include "engine/base/check.h"
#include "engine/kv/codec_list.h"

namespace kvpareto::kv {
namespace {

// One row per codec of the list, made from its type.
struct Entry {
  std::string name;
  CodecInfo info;  // info.name views `name`
  bool (*supports)(int);
  TileRegions (*regions)(Role, int);
  void (*encode)(Role, int, StaticRange, const float*, std::byte*);
  void (*decode)(Role, int, StaticRange, const std::byte*, float*);
};

template <typename Codec>
void DecodeElements(Role role, int head_dim, StaticRange range, const std::byte* encoded,
                    float* tile) {
  TileElement element = {.role = role, .head_dim = head_dim, .range = range, .encoded = encoded};
  for (element.token = 0; element.token < kBlockTokens; ++element.token) {
    for (element.channel = 0; element.channel < head_dim; ++element.channel) {
      *tile++ = Codec::At(element);
    }
  }
}

template <typename Codec>
concept Openable = requires {
  Codec::kCanBeOpen;
};

template <typename Codec>
concept DecodesTiles = requires {
  &Codec::Decode;
};

template <typename Codec>
void Fill(Entry& entry) {
  entry.name = Codec::Name();
  entry.info = {.name = entry.name,
                .bits = Codec::kBits,
                .granularity = Codec::kGranularity,
                .group_channels = Codec::kGroupChannels,
                .needs_static_range = Codec::kGranularity == Granularity::kPerTensor,
                .can_be_open = Openable<Codec>};
  entry.supports = &Codec::Supports;
  entry.regions = &Codec::Regions;
  entry.encode = &Codec::Encode;
  if constexpr (DecodesTiles<Codec>) {
    entry.decode = &Codec::Decode;
  } else {
    entry.decode = &DecodeElements<Codec>;
  }
}

template <typename Codec, typename... Codecs>
constexpr CodecId IdOf(TypeList<Codecs...>) {
  int index = 0;
  (void)((std::is_same_v<Codec, Codecs> || (++index, false)) || ...);
  return CodecId(index);
}

using Table = std::array<Entry, CodecList::kSize>;

template <typename... Codecs>
const Table& TableOf(TypeList<Codecs...>) {
  // Never destroyed: views of the names may outlive static destruction.
  static const Table& table = *[] {
    auto* entries = new Table;
    int index = 0;
    (Fill<Codecs>((*entries)[index++]), ...);
    return entries;
  }();
  return table;
}

const Entry& Get(CodecId codec) {
  KVP_CHECK(static_cast<int>(codec) < NumCodecs()) << "codec " << static_cast<int>(codec);
  return TableOf(CodecList{})[static_cast<int>(codec)];
}

const Entry& GetFor(CodecId codec, int head_dim) {
  const Entry& entry = Get(codec);
  KVP_CHECK(entry.supports(head_dim)) << entry.name << " at head_dim " << head_dim;
  return entry;
}

}  // namespace

static_assert(IdOf<Bf16Codec>(CodecList{}) == CodecId::kBf16);
static_assert(IdOf<F32Codec>(CodecList{}) == CodecId::kF32);

int NumCodecs() { return CodecList::kSize; }

const CodecInfo& GetCodecInfo(CodecId codec) { return Get(codec).info; }

std::optional<CodecId> FindCodec(std::string_view name) {
  for (int i = 0; i < NumCodecs(); ++i) {
    if (GetCodecInfo(CodecId(i)).name == name) return CodecId(i);
  }
  return std::nullopt;
}

bool CodecSupports(CodecId codec, int head_dim) { return Get(codec).supports(head_dim); }

size_t TileBytes(CodecId codec, Role role, int head_dim) {
  return GetTileRegions(codec, role, head_dim).bytes;
}

TileRegions GetTileRegions(CodecId codec, Role role, int head_dim) {
  return GetFor(codec, head_dim).regions(role, head_dim);
}

double BitsPerElement(CodecId codec, Role role, int head_dim) {
  return 8.0 * static_cast<double>(TileBytes(codec, role, head_dim)) / (kBlockTokens * head_dim);
}

void EncodeTile(CodecId codec, Role role, int head_dim, StaticRange range, const float* tile,
                std::byte* encoded) {
  GetFor(codec, head_dim).encode(role, head_dim, range, tile, encoded);
}

void DecodeTile(CodecId codec, Role role, int head_dim, StaticRange range, const std::byte* encoded,
                float* tile) {
  GetFor(codec, head_dim).decode(role, head_dim, range, encoded, tile);
}

}  // namespace kvpareto::kv
