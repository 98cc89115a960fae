// StoreKv and Seal: every instruction set writes the bytes of the scalar definitions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "engine/base/float16.h"
#include "engine/cpu/attention.h"
#include "engine/kv/block_layout.h"
#include "tests/cpu/available_isas.h"

namespace kvpareto::cpu {
namespace {

struct FreeBytes {
  void operator()(std::byte* data) const { std::free(data); }
};
using Bytes = std::unique_ptr<std::byte, FreeBytes>;

Bytes Allocate(size_t bytes, int fill) {
  Bytes memory(static_cast<std::byte*>(std::aligned_alloc(kv::kRegionAlignment, bytes)));
  std::memset(memory.get(), fill, bytes);
  return memory;
}

const uint16_t* KeyTile(const kv::LayerLayout& layout, const std::byte* data, int head) {
  return reinterpret_cast<const uint16_t*>(data + layout.k_offset + head * layout.k_tile_bytes);
}
const uint16_t* ValueTile(const kv::LayerLayout& layout, const std::byte* data, int head) {
  return reinterpret_cast<const uint16_t*>(data + layout.v_offset + head * layout.v_tile_bytes);
}

struct StoreCase {
  int head_dim;
  int tile_tokens;
  int first_slot;
  int tokens;
};

class StoreKvTest : public testing::TestWithParam<StoreCase> {};

// The slots written hold the rounded rows, all others what they held before.
TEST_P(StoreKvTest, WritesItsSlotsOnly) {
  const auto [head_dim, tile_tokens, first_slot, tokens] = GetParam();
  constexpr int kHeads = 4, kKvHeads = 2, kFirstRow = 3, kUntouched = 0x5a5a;
  const int columns = (kHeads + 2 * kKvHeads) * head_dim;
  // One row more than stored, so that no tokens is a case like the others.
  std::vector<float> qkv(static_cast<size_t>(kFirstRow + tokens + 1) * columns);
  std::mt19937 rng(tokens);
  std::normal_distribution<float> normal;
  for (float& x : qkv) x = normal(rng);
  // What rounding has to get right: ties, NaN, infinity, overflow, subnormals.
  const float special[] = {0x1.01p0f,
                           0x1.03p0f,
                           std::numeric_limits<float>::quiet_NaN(),
                           std::numeric_limits<float>::infinity(),
                           3.4e38f,
                           1e-40f,
                           -0.0f};
  for (int i = 0; i < 7; ++i) qkv[kFirstRow * columns + kHeads * head_dim + i] = special[i];

  const auto layout = kv::BlockLayout::Bf16(1, kKvHeads, head_dim, tile_tokens);
  const kv::LayerLayout& layer = layout.layer(0);
  for (Isa isa : AvailableIsas()) {
    const Bytes memory = Allocate(layout.bytes(), 0x5a);
    const StoreKvItem item = {.destination = {.data = memory.get(),
                                              .layout = &layer,
                                              .first_slot = first_slot,
                                              .num_tokens = tokens},
                              .first_row = kFirstRow};
    ThreadPool pool(2);
    StoreKv(isa, pool,
            {.qkv = {reinterpret_cast<std::byte*>(qkv.data()), kFirstRow + tokens, columns},
             .k_first_col = kHeads * head_dim,
             .v_first_col = (kHeads + kKvHeads) * head_dim,
             .kv_heads = kKvHeads,
             .head_dim = head_dim,
             .items = {&item, 1}});
    for (int h = 0; h < kKvHeads; ++h) {
      for (int t = 0; t < tile_tokens; ++t) {
        const bool written = t >= first_slot && t < first_slot + tokens;
        const float* row = qkv.data() + (written ? kFirstRow + t - first_slot : 0) * columns;
        for (int c = 0; c < head_dim; ++c) {
          const float* k = row + (kHeads + h) * head_dim + c;
          const float* v = row + (kHeads + kKvHeads + h) * head_dim + c;
          const int at_k = kv::ElementIndex(kv::Role::kKey, t, c, tile_tokens, head_dim);
          const int at_v = kv::ElementIndex(kv::Role::kValue, t, c, tile_tokens, head_dim);
          ASSERT_EQ(KeyTile(layer, memory.get(), h)[at_k], written ? FloatToBf16(*k) : kUntouched)
              << Name(isa) << " slot " << t << " channel " << c;
          ASSERT_EQ(ValueTile(layer, memory.get(), h)[at_v], written ? FloatToBf16(*v) : kUntouched)
              << Name(isa) << " slot " << t << " channel " << c;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, StoreKvTest,
                         testing::Values(StoreCase{64, 64, 0, 64}, StoreCase{64, 64, 0, 1},
                                         StoreCase{64, 64, 63, 1}, StoreCase{80, 64, 5, 20},
                                         StoreCase{96, 64, 4, 7}, StoreCase{128, 16, 3, 13},
                                         StoreCase{256, 1008, 900, 101}, StoreCase{24, 64, 1, 2},
                                         StoreCase{64, 64, 10, 0}));

// f32 tiles hold the rows as they are; other slots what they held before.
TEST_P(StoreKvTest, WritesFloatsIntoF32Tiles) {
  const auto [head_dim, tile_tokens, first_slot, tokens] = GetParam();
  constexpr int kKvHeads = 2;
  const int columns = 2 * kKvHeads * head_dim;
  std::vector<float> qkv(static_cast<size_t>(tokens + 1) * columns);
  std::mt19937 rng(tokens);
  std::normal_distribution<float> normal;
  for (float& x : qkv) x = normal(rng);
  qkv[0] = std::numeric_limits<float>::infinity();
  qkv[1] = 1e-40f;
  const auto layout = kv::BlockLayout::Open(kv::CodecId::kF32, 1, kKvHeads, head_dim, tile_tokens);
  const kv::LayerLayout& layer = layout.layer(0);
  for (Isa isa : AvailableIsas()) {
    const Bytes memory = Allocate(layout.bytes(), 0x5a);
    float untouched;
    std::memcpy(&untouched, memory.get(), sizeof(untouched));
    const StoreKvItem item = {.destination = {.data = memory.get(),
                                              .layout = &layer,
                                              .first_slot = first_slot,
                                              .num_tokens = tokens}};
    ThreadPool pool(2);
    StoreKv(isa, pool,
            {.qkv = {reinterpret_cast<std::byte*>(qkv.data()), tokens, columns},
             .v_first_col = kKvHeads * head_dim,
             .kv_heads = kKvHeads,
             .head_dim = head_dim,
             .items = {&item, 1}});
    for (int h = 0; h < kKvHeads; ++h) {
      const auto* k = reinterpret_cast<const float*>(KeyTile(layer, memory.get(), h));
      const auto* v = reinterpret_cast<const float*>(ValueTile(layer, memory.get(), h));
      for (int t = 0; t < tile_tokens; ++t) {
        const bool written = t >= first_slot && t < first_slot + tokens;
        const float* row = qkv.data() + (written ? t - first_slot : 0) * columns + h * head_dim;
        for (int c = 0; c < head_dim; ++c) {
          ASSERT_EQ(k[kv::ElementIndex(kv::Role::kKey, t, c, tile_tokens, head_dim)],
                    written ? row[c] : untouched);
          ASSERT_EQ(v[kv::ElementIndex(kv::Role::kValue, t, c, tile_tokens, head_dim)],
                    written ? row[kKvHeads * head_dim + c] : untouched);
        }
      }
    }
  }
}

// Values that exercise the quantizer's corners, rounded to bf16.
std::vector<float> HardTile(int head_dim, uint32_t seed) {
  std::vector<float> tile(kv::kBlockTokens * head_dim);
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  for (int t = 0; t < kv::kBlockTokens; ++t) {
    for (int c = 0; c < head_dim; ++c) {
      float x = normal(rng);
      if (c % 16 == 3) x = 5.0f;                 // constant channels
      if (c % 16 == 5) x = 1000.0f + 0.01f * x;  // far from zero
      if (c % 16 == 7) x *= 1e-9f;               // below the smallest scale
      if (t == 9) x = 0.0f;                      // a token of zeros
      if (seed % 2 == 1 && t == 11) x *= 1e6f;   // saturates
      if (seed % 3 == 2 && t == 13 && c == 4) x = std::numeric_limits<float>::quiet_NaN();
      if (seed % 3 == 2 && t == 14 && c == 6) x = -std::numeric_limits<float>::infinity();
      tile[t * head_dim + c] = Bf16ToFloat(FloatToBf16(x));
    }
  }
  return tile;
}

class SealTest : public testing::TestWithParam<int> {
 protected:
  void ExpectScalarBytes(kv::CodecId open_codec, float clip) const;
};

TEST_P(SealTest, BytesAreThoseOfTheScalarEncoder) { ExpectScalarBytes(kv::CodecId::kBf16, 1.0f); }

TEST_P(SealTest, BytesAreThoseOfTheScalarEncoderWithAClip) {
  ExpectScalarBytes(kv::CodecId::kBf16, 0.93f);
}

TEST_P(SealTest, OpenF32BlocksAreSealedFromTheirFloats) {
  ExpectScalarBytes(kv::CodecId::kF32, 1.0f);
}

void SealTest::ExpectScalarBytes(kv::CodecId open_codec, float clip) const {
  const auto codec = static_cast<kv::CodecId>(GetParam());
  constexpr int kKvHeads = 2;
  const std::vector<kv::StaticRange> ranges = {{-1.5f, 2.0f, clip}, {-300.0f, 20.0f, clip}};
  for (int head_dim : {32, 64, 80, 96, 128, 256}) {
    if (!kv::CodecSupports(codec, head_dim)) continue;
    SCOPED_TRACE(testing::Message() << "head_dim " << head_dim);
    const auto open = kv::BlockLayout::Open(open_codec, 1, kKvHeads, head_dim);
    const std::vector<kv::LayerCodecs> codecs = {{codec, codec}};
    const kv::BlockLayout sealed(codecs, kKvHeads, head_dim);
    const kv::LayerLayout& from = open.layer(0);
    const kv::LayerLayout& to = sealed.layer(0);

    const Bytes source = Allocate(open.bytes(), 0);
    const Bytes want = Allocate(sealed.bytes(), 0xee);
    for (int h = 0; h < kKvHeads; ++h) {
      const std::vector<float> k = HardTile(head_dim, 2 * h), v = HardTile(head_dim, 2 * h + 1);
      kv::EncodeTile(open_codec, kv::Role::kKey, head_dim, {}, k.data(),
                     source.get() + from.k_offset + h * from.k_tile_bytes);
      kv::EncodeTile(open_codec, kv::Role::kValue, head_dim, {}, v.data(),
                     source.get() + from.v_offset + h * from.v_tile_bytes);
      kv::EncodeTile(codec, kv::Role::kKey, head_dim, ranges[h], k.data(),
                     want.get() + to.k_offset + h * to.k_tile_bytes);
      kv::EncodeTile(codec, kv::Role::kValue, head_dim, ranges[h], v.data(),
                     want.get() + to.v_offset + h * to.v_tile_bytes);
    }
    for (Isa isa : AvailableIsas()) {
      const Bytes got = Allocate(sealed.bytes(), 0xee);
      const SealItem item = {.source = source.get(),
                             .source_layout = &from,
                             .destination = got.get(),
                             .destination_layout = &to,
                             .k_ranges = ranges,
                             .v_ranges = ranges};
      ThreadPool pool(2);
      Seal(isa, pool, {.kv_heads = kKvHeads, .head_dim = head_dim, .items = {&item, 1}});
      for (size_t i = 0; i < sealed.bytes(); ++i) {
        ASSERT_EQ(got.get()[i], want.get()[i])
            << Name(isa) << " byte " << i << " v from " << to.v_offset;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryCodec, SealTest, testing::Range(0, kv::NumCodecs()),
                         [](const testing::TestParamInfo<int>& info) {
                           std::string name(
                               kv::GetCodecInfo(static_cast<kv::CodecId>(info.param)).name);
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace kvpareto::cpu
