#include "engine/ops/dequantize.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/base/float16.h"
#include "gtest/gtest.h"

namespace kvpareto {
namespace {

constexpr int kElements = 2048;

struct Golden {
  TensorType type;
  std::vector<int> exponent_offsets;  // bytes of a block whose top exponent bit is cleared
  uint64_t digest;                    // FNV-1a over the little-endian bytes of the decoded floats
  std::vector<float> samples;         // elements 0, 17 and 33
};

// From the reference decoders of the `gguf` package: see dequantize_golden.py.
const std::vector<Golden>& Goldens() {
  static const std::vector<Golden> goldens = {
      {TensorType::kF32,
       {3},
       0x2eba6a87f3c22938u,
       {0x1.bccf82p-105f, -0x1.c37752p-113f, -0x1.2a80ep-82f}},
      {TensorType::kF16, {1}, 0x747a6250a0408914u, {0x1.67p-15f, -0x1.ea4p-11f, -0x1.55cp-14f}},
      {TensorType::kBf16, {1}, 0x0d5b637a4011cc2eu, {-0x1.dap-108f, -0x1.9ep-90f, 0x1.5cp-15f}},
      {TensorType::kQ4_0, {1}, 0x808e557249c171d7u, {0x1.0c3p+0f, 0x1.328p-3f, -0x1.6d5p+2f}},
      {TensorType::kQ4_1,
       {1, 3},
       0xa199618307963f50u,
       {-0x1.5c1d5cp+1f, -0x1.167d5cp+1f, -0x1.caf16p-4f}},
      {TensorType::kQ5_0, {1}, 0x8b90d75dfa2f8eadu, {0x1.ep-6f, -0x1.9p-7f, 0x1.21bp+2f}},
      {TensorType::kQ5_1,
       {1, 3},
       0x3a203187506ab515u,
       {0x1.27bcp-8f, 0x1.a907cp-4f, -0x1.71a3p-1f}},
      {TensorType::kQ8_0, {1}, 0x57335a08962230b5u, {0x1.36p-16f, 0x1.d1p-15f, -0x1.0284p-3f}},
      {TensorType::kQ4_K,
       {1, 3},
       0x2269d2700b7a769au,
       {0x1.aea7p+0f, 0x1.58ea4p+2f, 0x1.64706p+3f}},
      {TensorType::kQ5_K, {1, 3}, 0x9f5996f2fad15767u, {0x1.6fp-8f, 0x1.242p-7f, 0x1.b347ap-4f}},
      {TensorType::kQ6_K, {209}, 0x42cf505f527d5936u, {-0x1.1628p-7f, 0x1.56d8p-5f, 0x1.299p-4f}},
  };
  return goldens;
}

// Random blocks without infinities or NaN (splitmix64, lowest byte).
std::vector<std::byte> RandomBlocks(const Golden& golden, uint64_t seed) {
  const TensorTypeInfo& info = GetTensorTypeInfo(golden.type);
  std::vector<std::byte> bytes(kElements / info.block_elements * info.block_bytes);
  for (std::byte& byte : bytes) {
    seed += 0x9e3779b97f4a7c15u;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    byte = static_cast<std::byte>(z ^ (z >> 31));
  }
  for (size_t block = 0; block < bytes.size(); block += info.block_bytes) {
    for (int offset : golden.exponent_offsets) bytes[block + offset] &= std::byte{0xbf};
  }
  return bytes;
}

uint64_t Fnv1a(std::span<const float> values) {
  uint64_t state = 0xcbf29ce484222325u;
  for (float value : values) {
    uint32_t bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i, bits >>= 8) state = (state ^ (bits & 255)) * 0x100000001b3u;
  }
  return state;
}

TEST(Dequantize, BitExactAgainstTheReference) {
  ASSERT_EQ(Goldens().size(), 11u);
  uint64_t seed = 0;
  for (const Golden& golden : Goldens()) {
    SCOPED_TRACE(GetTensorTypeInfo(golden.type).name);
    const std::vector<std::byte> blocks = RandomBlocks(golden, ++seed);
    std::vector<float> out(kElements);
    DequantizeRow(golden.type, blocks, out);
    EXPECT_EQ(out[0], golden.samples[0]);
    EXPECT_EQ(out[17], golden.samples[1]);
    EXPECT_EQ(out[33], golden.samples[2]);
    EXPECT_EQ(Fnv1a(out), golden.digest);
  }
}

// A row of several blocks is the blocks one after the other.
TEST(Dequantize, RowIsItsBlocks) {
  for (const Golden& golden : Goldens()) {
    const TensorTypeInfo& info = GetTensorTypeInfo(golden.type);
    const std::vector<std::byte> blocks = RandomBlocks(golden, 77);
    std::vector<float> whole(kElements), part(info.block_elements);
    DequantizeRow(golden.type, blocks, whole);
    const int last = kElements / info.block_elements - 1;
    DequantizeRow(
        golden.type,
        std::span(blocks).subspan(static_cast<size_t>(last) * info.block_bytes, info.block_bytes),
        part);
    EXPECT_EQ(0, std::memcmp(part.data(), whole.data() + kElements - info.block_elements,
                             part.size() * sizeof(float)))
        << info.name;
  }
}

// Worked by hand from the layout: one block each where every field has its own effect.
TEST(Dequantize, Q4_1ByHand) {
  std::vector<std::byte> block(20);
  block[1] = std::byte{0x38};  // scale 0.5
  block[3] = std::byte{0xbc};  // minimum -1
  block[4] = std::byte{0xf3};  // element 0: 3, element 16: 15
  std::vector<float> out(32);
  DequantizeRow(TensorType::kQ4_1, block, out);
  EXPECT_EQ(out[0], 0.5f);
  EXPECT_EQ(out[16], 6.5f);
  EXPECT_EQ(out[1], -1.0f);
}

TEST(Dequantize, Q4_KByHand) {
  std::vector<std::byte> block(144);
  block[1] = std::byte{0x3c};             // scale of scales 1
  block[3] = std::byte{0x3c};             // scale of minima 1
  block[4 + 0] = std::byte{0x80 | 5};     // sub 0 scale 5; top bits of sub 4's scale: 2
  block[4 + 4] = std::byte{0x40 | 7};     // sub 0 minimum 7; top bits of sub 4's minimum: 1
  block[4 + 8] = std::byte{0x93};         // sub 4: scale low 3, minimum low 9
  block[16] = std::byte{0x0a};            // sub 0 element 0: 10
  block[16 + 64 + 31] = std::byte{0x02};  // sub 4 element 31: 2
  std::vector<float> out(256);
  DequantizeRow(TensorType::kQ4_K, block, out);
  EXPECT_EQ(out[0], 5.0f * 10 - 7);
  EXPECT_EQ(out[4 * 32 + 31], 35.0f * 2 - 25);
  EXPECT_EQ(out[32], 0.0f);
}

TEST(DequantizeDeathTest, SizesMustAgree) {
  std::vector<std::byte> block(20);
  std::vector<float> out(31);
  EXPECT_DEATH(DequantizeRow(TensorType::kQ4_1, block, out), "Q4_1");
}

}  // namespace
}  // namespace kvpareto
