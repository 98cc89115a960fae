// How codes of 8, 6, 4, 3 or 2 bits stand in bytes, and 16-bit values in byte arrays.
//
// Codes of 8, 4 and 2 bits are packed in units of 32 bytes, one vector register: byte j of a unit
// holds the elements j, 32 + j, 64 + j, ... from its lowest bits up. So one shift and one mask turn
// a register of bytes into 32 consecutive elements, in order.
//   8 bits:  32 elements a unit; byte j: element j
//   4 bits:  64 elements a unit; byte j: element j in bits 0-3, 32+j in bits 4-7
//   2 bits: 128 elements a unit; byte j: elements j, 32+j, 64+j, 96+j in bits 0-1, 2-3, 4-5, 6-7
//
// Codes of 6 and 3 bits are two planes, the low bits and the high bits, one after the other in
// every unit of 128 elements (a row of a tile of keys), so that a tile is still one stream of
// bytes:
//   6 bits:  bytes 0-63:  code & 15 of elements 0..127, as two units of 4 bits
//            bytes 64-95: code >> 4 of elements 0..127, as one unit of 2 bits
//   3 bits:  bytes 0-31:  code & 3 of elements 0..127, as one unit of 2 bits
//            bytes 32-47: code >> 2 of element e in bit e % 8 of byte 32 + e / 8
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

template <>
struct BitPacking<6> {
  static constexpr int kUnitBytes = 96;
  static constexpr int kUnitElements = 128;
  static constexpr int kHighPlane = 64;  // where in a unit

  static constexpr size_t Bytes(int elements) {
    return static_cast<size_t>(elements / kUnitElements) * kUnitBytes;
  }
  static constexpr int Get(const std::byte* codes, int element) {
    const std::byte* const unit = codes + Bytes(element);
    const int place = element % kUnitElements;
    return BitPacking<4>::Get(unit, place) | BitPacking<2>::Get(unit + kHighPlane, place) << 4;
  }
  static constexpr void Set(std::byte* codes, int element, uint8_t code) {
    std::byte* const unit = codes + Bytes(element);
    const int place = element % kUnitElements;
    BitPacking<4>::Set(unit, place, code & 15);
    BitPacking<2>::Set(unit + kHighPlane, place, code >> 4);
  }
};

template <>
struct BitPacking<3> {
  static constexpr int kUnitBytes = 48;
  static constexpr int kUnitElements = 128;
  static constexpr int kHighPlane = 32;

  static constexpr size_t Bytes(int elements) {
    return static_cast<size_t>(elements / kUnitElements) * kUnitBytes;
  }
  static constexpr int Get(const std::byte* codes, int element) {
    const std::byte* const unit = codes + Bytes(element);
    const int place = element % kUnitElements;
    const int high = static_cast<int>(unit[kHighPlane + place / 8]) >> place % 8 & 1;
    return BitPacking<2>::Get(unit, place) | high << 2;
  }
  static constexpr void Set(std::byte* codes, int element, uint8_t code) {
    std::byte* const unit = codes + Bytes(element);
    const int place = element % kUnitElements;
    BitPacking<2>::Set(unit, place, code & 3);
    unit[kHighPlane + place / 8] |= static_cast<std::byte>(code >> 2 << place % 8);
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
