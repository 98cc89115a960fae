// Vector decoding gives the numbers of kv::DecodeTile, for every codec of the list.
#include "engine/cpu/tile_decode.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

#include "engine/base/float16.h"
#include "engine/cpu/isa.h"

namespace kvpareto::cpu {
namespace {

constexpr kv::StaticRange kRange = {-2.5f, 3.0f};

struct FreeBytes {
  void operator()(std::byte* data) const { std::free(data); }
};

struct Tile {
  std::vector<float> decoded;  // [kBlockTokens, head_dim] by the scalar definition
  std::unique_ptr<std::byte, FreeBytes> encoded;
};

// Gaussian values around a per-channel offset, so that zero points differ.
Tile MakeTile(kv::CodecId codec, kv::Role role, int head_dim) {
  std::mt19937 rng(head_dim + static_cast<int>(codec));
  std::normal_distribution<float> normal;
  std::vector<float> values(kv::kBlockTokens * head_dim);
  for (size_t i = 0; i < values.size(); ++i) values[i] = normal(rng) + 0.3f * (i % head_dim % 7);
  Tile tile;
  tile.encoded.reset(static_cast<std::byte*>(
      std::aligned_alloc(kv::kRegionAlignment, kv::TileBytes(codec, role, head_dim))));
  kv::EncodeTile(codec, role, head_dim, kRange, values.data(), tile.encoded.get());
  tile.decoded.resize(values.size());
  kv::DecodeTile(codec, role, head_dim, kRange, tile.encoded.get(), tile.decoded.data());
  return tile;
}

class TileDecodeTest : public testing::TestWithParam<int> {
 protected:
  // Calls f(task, tile) for both roles and all head sizes that the codec supports.
  template <typename F>
  void ForEachTile(const F& f) const {
    const auto codec = static_cast<kv::CodecId>(GetParam());
    for (int head_dim : {32, 64, 80, 96, 128, 256}) {
      if (!kv::CodecSupports(codec, head_dim)) continue;
      for (kv::Role role : {kv::Role::kKey, kv::Role::kValue}) {
        SCOPED_TRACE(testing::Message()
                     << "head_dim " << head_dim << " role " << static_cast<int>(role));
        const Tile tile = MakeTile(codec, role, head_dim);
        f(DecodeTask{codec, role, kRange, head_dim, tile.encoded.get()}, tile);
      }
    }
  }
  void ExpectScalarFloats(void (*decode)(const DecodeTask&, float*)) const;
};

void TileDecodeTest::ExpectScalarFloats(void (*decode)(const DecodeTask&, float*)) const {
  ForEachTile([decode](const DecodeTask& task, const Tile& tile) {
    std::vector<float> out(tile.decoded.size());
    decode(task, out.data());
    for (int t = 0; t < kv::kBlockTokens; ++t) {
      for (int c = 0; c < task.head_dim; ++c) {
        const int e = kv::ElementIndex(task.role, t, c, kv::kBlockTokens, task.head_dim);
        const int granule_index = e / kGranule * kGranule + e % 2 * 16 + e % kGranule / 2;
        ASSERT_EQ(out[granule_index], tile.decoded[t * task.head_dim + c]) << t << " " << c;
      }
    }
  });
}

TEST_P(TileDecodeTest, FloatsAreTheScalarOnes) {
  if (DetectIsa() < Isa::kAvx512) return;  // no such code on this machine
  ExpectScalarFloats(DecodeToFloats);
}

TEST_P(TileDecodeTest, Avx2FloatsAreTheScalarOnes) {
  if (DetectIsa() < Isa::kAvx2) return;  // no such code on this machine
  ExpectScalarFloats(DecodeToFloatsAvx2);
}

TEST_P(TileDecodeTest, Bf16IsTheScalarOneRounded) {
  if (DetectIsa() < Isa::kAvx512Bf16) return;  // no such code on this machine
  ForEachTile([](const DecodeTask& task, const Tile& tile) {
    std::vector<uint16_t> out(tile.decoded.size());
    DecodeToBf16(task, out.data());
    for (int t = 0; t < kv::kBlockTokens; ++t) {
      for (int c = 0; c < task.head_dim; ++c) {
        const int e = kv::ElementIndex(task.role, t, c, kv::kBlockTokens, task.head_dim);
        ASSERT_EQ(out[e], FloatToBf16(tile.decoded[t * task.head_dim + c])) << t << " " << c;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(EveryCodec, TileDecodeTest, testing::Range(0, kv::NumCodecs()),
                         [](const testing::TestParamInfo<int>& info) {
                           std::string name(
                               kv::GetCodecInfo(static_cast<kv::CodecId>(info.param)).name);
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace kvpareto::cpu
