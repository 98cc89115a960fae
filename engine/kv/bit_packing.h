// How codes of 8, 4 or 2 bits stand in bytes, and 16-bit values in byte arrays.
//
// Codes are packed in units of 32 bytes, one vector register: byte j of a unit holds the elements
// j, 32 + j, 64 + j, ... from its lowest bits up. So one shift and one mask turn a register of
// bytes into 32 consecutive elements, in order.
//   8 bits:  32 elements a unit; byte j: element j
//   4 bits:  64 elements a unit; byte j: element j in bits 0-3, 32+j in bits 4-7
//   2 bits: 128 elements a unit; byte j: elements j, 32+j, 64+j, 96+j in bits 0-1, 2-3, 4-5, 6-7
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvpareto::kv {

template <int kBits>
struct BitPacking {
  static_assert(kBits == 8 || kBits == 4 || kBits == 2);
  static constexpr int kUnitBytes = 32;
  static constexpr int kUnitElements = kUnitBytes * 8 / kBits;

  // `elements` is a multiple of kUnitElements.
  static constexpr size_t Bytes(int elements) {
    return static_cast<size_t>(elements / kUnitElements) * kUnitBytes;
  }
  static constexpr size_t ByteOf(int element) {
    return static_cast<size_t>(element / kUnitElements) * kUnitBytes + element % kUnitBytes;
  }
  static constexpr int ShiftOf(int element) { return element % kUnitElements / kUnitBytes * kBits; }

  static constexpr int Get(const std::byte* codes, int element) {
    return (static_cast<int>(codes[ByteOf(element)]) >> ShiftOf(element)) & ((1 << kBits) - 1);
  }
  // Sets a code in bytes that were zero before.
  static constexpr void Set(std::byte* codes, int element, uint8_t code) {
    codes[ByteOf(element)] |= static_cast<std::byte>(code << ShiftOf(element));
  }
};

// Little-endian 16-bit values in byte arrays, without a cast that constant evaluation would refuse.
constexpr uint16_t LoadU16(const std::byte* bytes, size_t index) {
  return static_cast<uint16_t>(static_cast<unsigned>(bytes[2 * index]) |
                               static_cast<unsigned>(bytes[2 * index + 1]) << 8);
}
constexpr void StoreU16(std::byte* bytes, size_t index, uint16_t value) {
  bytes[2 * index] = static_cast<std::byte>(value & 0xff);
  bytes[2 * index + 1] = static_cast<std::byte>(value >> 8);
}

}  // namespace kvpareto::kv
