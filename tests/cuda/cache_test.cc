// StoreKv, Seal and Requantize write the bytes of the scalar definitions.
#include <cmath>
#include <limits>

#include "engine/base/float16.h"
#include "engine/kv/block_layout.h"
#include "tests/cuda/cuda_fixture.h"

namespace kvpareto::cuda {
namespace {

class CacheTest : public CudaTest {
 protected:
  struct Region {
    explicit Region(size_t bytes, int fill) : host(bytes, static_cast<std::byte>(fill)) {
      device = *Gpu()->Allocate(bytes);
      Upload();
    }
    void Upload() { Gpu()->CopyFromHost(device->data(), host.data(), host.size()); }
    std::vector<std::byte> Read() const {
      std::vector<std::byte> bytes(host.size());
      Gpu()->CopyToHost(bytes.data(), device->data(), bytes.size());
      return bytes;
    }
    std::vector<std::byte> host;
    std::unique_ptr<DeviceBuffer> device;
  };
};

TEST_F(CacheTest, StoreKvAsTheCpuDoes) {
  constexpr int kHeads = 4, kKvHeads = 2, kDim = 64, kColumns = (kHeads + 2 * kKvHeads) * kDim;
  std::vector<float> qkv = RandomFloats(90 * kColumns, 1);
  qkv[kHeads * kDim] = std::numeric_limits<float>::quiet_NaN();
  qkv[kHeads * kDim + 1] = 3.4e38f;
  Matrix gpu_qkv(*Gpu(), qkv, kColumns), cpu_qkv(Cpu(), qkv, kColumns);
  for (const kv::CodecId codec : {kv::CodecId::kBf16, kv::CodecId::kF32}) {
    for (const int tile_tokens : {16, 64}) {
      const auto layout = kv::BlockLayout::Open(codec, 1, kKvHeads, kDim, tile_tokens);
      for (const auto& [slot, tokens] :
           {std::pair(0, 1), std::pair(5, 3), std::pair(3, 13), std::pair(0, tile_tokens)}) {
        Region gpu(layout.bytes(), 0x5a);
        std::vector<std::byte> cpu = gpu.host;
        const auto store = [&](Backend& backend, Activations rows, std::byte* data) {
          const StoreKvItem item{.destination = {.data = data,
                                                 .layout = &layout.layer(0),
                                                 .first_slot = slot,
                                                 .num_tokens = tokens},
                                 .first_row = 0};
          backend.StoreKv({.qkv = rows,
                           .k_first_col = kHeads * kDim,
                           .v_first_col = (kHeads + kKvHeads) * kDim,
                           .kv_heads = kKvHeads,
                           .head_dim = kDim,
                           .items = {&item, 1}});
        };
        store(*Gpu(), gpu_qkv.view(), gpu.device->data());
        store(Cpu(), cpu_qkv.view(), cpu.data());
        EXPECT_EQ(gpu.Read(), cpu) << "slot " << slot << " tokens " << tokens;
      }
    }
  }
}

// Rope and StoreKv in one operation leave what they leave one after the other: for decode rows,
// each with its own tile, and where another kind of row is among them.
TEST_F(CacheTest, RopeAndStoreKvAsOneAfterTheOther) {
  constexpr int kHeads = 4, kKvHeads = 2, kDim = 64, kColumns = (kHeads + 2 * kKvHeads) * kDim;
  const std::vector<float> qkv = RandomFloats(5 * kColumns, 2);
  const std::vector<int32_t> positions = {0, 7, 4097, 4098, 131071};
  std::vector<float> frequency(kDim / 2);
  for (int i = 0; i < kDim / 2; ++i) frequency[i] = std::pow(500000.0f, -2.0f * i / kDim);
  for (const kv::CodecId codec : {kv::CodecId::kBf16, kv::CodecId::kF32}) {
    const auto layout = kv::BlockLayout::Open(codec, 1, kKvHeads, kDim, 16);
    for (const std::vector<int>& tokens : {std::vector{1, 1, 1, 1, 1}, std::vector{1, 1, 3}}) {
      const auto run = [&](bool at_once) {
        Matrix rows(*Gpu(), qkv, kColumns);
        Region tiles(layout.bytes() * tokens.size(), 0x5a);
        std::vector<StoreKvItem> items;
        int row = 0;
        for (size_t i = 0; i < tokens.size(); ++i) {
          items.push_back({.destination = {.data = tiles.device->data() + i * layout.bytes(),
                                           .layout = &layout.layer(0),
                                           .first_slot = static_cast<int>(3 * i),
                                           .num_tokens = tokens[i]},
                           .first_row = row});
          row += tokens[i];
        }
        const RopeArgs rope{.x = rows.view(),
                            .heads = kHeads + kKvHeads,
                            .head_dim = kDim,
                            .positions = positions,
                            .inverse_frequency = frequency};
        const StoreKvArgs store{.qkv = rows.view(),
                                .k_first_col = kHeads * kDim,
                                .v_first_col = (kHeads + kKvHeads) * kDim,
                                .kv_heads = kKvHeads,
                                .head_dim = kDim,
                                .items = items};
        at_once ? Gpu()->RopeAndStoreKv(rope, store) : Gpu()->Backend::RopeAndStoreKv(rope, store);
        return std::pair(rows.Read(), tiles.Read());
      };
      EXPECT_EQ(run(true), run(false)) << tokens.size() << " items";
    }
  }
}

// Every codec of the list, keys and values, several items, clips and static ranges.
TEST_F(CacheTest, SealEveryCodecToTheByte) {
  constexpr int kKvHeads = 2, kItems = 3;
  for (const int head_dim : {64, 80, 128}) {
    for (int id = 0; id < kv::NumCodecs(); ++id) {
      const auto codec = static_cast<kv::CodecId>(id);
      if (!kv::CodecSupports(codec, head_dim)) continue;
      SCOPED_TRACE(testing::Message() << kv::GetCodecInfo(codec).name << " d" << head_dim);
      const std::vector<kv::LayerCodecs> codecs = {{codec, codec}};
      const kv::BlockLayout to(codecs, kKvHeads, head_dim);
      const kv::BlockLayout from = kv::BlockLayout::Bf16(1, kKvHeads, head_dim);
      Region source(from.bytes() * kItems, 0), sealed(to.bytes() * kItems, 0x77);
      const std::vector<float> values = RandomFloats(source.host.size() / 2, 2 + id, 3.0f);
      for (size_t i = 0; i < values.size(); ++i) {
        const uint16_t half = FloatToBf16(i % 1001 == 0 ? 0.0f : values[i]);
        std::memcpy(source.host.data() + 2 * i, &half, 2);
      }
      source.Upload();
      std::vector<kv::StaticRange> ranges;
      for (int h = 0; h < kKvHeads; ++h) {
        ranges.push_back({.min = -2.5f - h, .max = 3.0f + h, .clip = 1.0f - 0.0625f * h});
      }
      std::vector<std::byte> expected = sealed.host;
      const auto seal = [&](Backend& backend, const std::byte* data, std::byte* encoded) {
        std::vector<SealItem> items;
        for (int i = 0; i < kItems; ++i) {
          items.push_back({.source = data + i * from.bytes(),
                           .source_layout = &from.layer(0),
                           .destination = encoded + i * to.bytes(),
                           .destination_layout = &to.layer(0),
                           .k_ranges = ranges,
                           .v_ranges = ranges});
        }
        backend.Seal({.kv_heads = kKvHeads, .head_dim = head_dim, .items = items});
      };
      seal(*Gpu(), source.device->data(), sealed.device->data());
      seal(Cpu(), source.host.data(), expected.data());
      const std::vector<std::byte> got = sealed.Read();
      size_t wrong = 0;
      for (size_t i = 0; i < got.size(); ++i) wrong += got[i] != expected[i];
      ASSERT_EQ(wrong, 0u) << "bytes of " << got.size();
    }
  }
}

// Blocks of several layers, re-encoded where they stand; one side may keep its codec, and the last
// pair only the host can encode.
TEST_F(CacheTest, RequantizeToTheByte) {
  constexpr int kLayers = 3, kKvHeads = 2, kBlocks = 11;
  struct Case {
    const char *k_from, *v_from, *k_to, *v_to;
  };
  for (const int head_dim : {64, 128}) {
    for (const Case& names :
         {Case{"bf16", "bf16", "int8-channel", "int8-token"},
          Case{"bf16", "bf16", "int4-channel", "int4-token-g32"},
          Case{"bf16", "int8-token", "bf16", "int3-token"},
          Case{"int8-channel", "int8-token", "int8-channel", "int4-token"},
          Case{"int8-token-g32-smooth", "fp8-e4m3", "int6-channel", "int2-token-g32"},
          Case{"int8-channel", "bf16", "int4-channel", "int8-token"},
          Case{"int8-channel", "bf16", "int4-dual", "int8-token"}}) {
      SCOPED_TRACE(testing::Message() << names.k_to << " d" << head_dim);
      const auto codec = [](const char* name) { return kv::FindCodec(name).value(); };
      const std::vector<kv::LayerCodecs> before(kLayers,
                                                {codec(names.k_from), codec(names.v_from)});
      const std::vector<kv::LayerCodecs> after(kLayers, {codec(names.k_to), codec(names.v_to)});
      const kv::BlockLayout from(before, kKvHeads, head_dim), to(after, kKvHeads, head_dim);
      ASSERT_TRUE(CanRequantize(from, to));
      Region blocks(from.bytes() * kBlocks, 0);
      const std::vector<kv::StaticRange> ranges(kLayers * kKvHeads, {.clip = 0.9375f});
      std::vector<RequantizeItem> items;
      for (int i = 0; i < kBlocks; ++i) {
        std::byte* const block = blocks.host.data() + i * from.bytes();
        ForEachTile({.from = &from, .to = &from}, block, kKvHeads, head_dim,
                    [&, seed = 100 * i](const RequantizeTile& tile) mutable {
                      const auto values = RandomFloats(kv::kBlockTokens * head_dim, ++seed, 2.0f);
                      kv::EncodeTile(tile.from, tile.role, head_dim, {}, values.data(),
                                     tile.destination);
                    });
        items.push_back({.data = blocks.device->data() + i * from.bytes(),
                         .from = &from,
                         .to = &to,
                         .k_ranges = ranges});
      }
      blocks.Upload();
      Gpu()->Requantize({.kv_heads = kKvHeads, .head_dim = head_dim, .items = items});
      const std::vector<std::byte> got = blocks.Read();
      for (int i = 0; i < kBlocks; ++i) {
        std::byte* const block = blocks.host.data() + i * from.bytes();
        ForEachTile(items[i], block, kKvHeads, head_dim, RequantizeTileScalar);
        ASSERT_EQ(std::memcmp(got.data() + i * from.bytes(), block, to.bytes()), 0)
            << "block " << i;
      }
    }
  }
}

TEST_F(CacheTest, MoveDownOverlapping) {
  for (const size_t distance : {size_t{128}, size_t{1} << 20, size_t{50} << 20}) {
    const size_t bytes = size_t{70} << 20;
    Region region(bytes + distance, 0);
    std::mt19937 rng(1);
    for (size_t i = 0; i < region.host.size(); i += 4) {
      const uint32_t value = rng();
      std::memcpy(region.host.data() + i, &value, 4);
    }
    region.Upload();
    Gpu()->Move(region.device->data(), region.device->data() + distance, bytes);
    const std::vector<std::byte> got = region.Read();
    EXPECT_EQ(std::memcmp(got.data(), region.host.data() + distance, bytes), 0) << distance;
  }
}

}  // namespace
}  // namespace kvpareto::cuda
