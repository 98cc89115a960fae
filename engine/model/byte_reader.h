// A cursor over untrusted little-endian bytes. Nothing is read or sized before it is known to lie
// inside the buffer.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "engine/model/model_error.h"

namespace kvpareto {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  absl::StatusOr<std::span<const std::byte>> Take(uint64_t count) {
    if (count > remaining()) {
      return TruncatedFile("the file ends at byte " + std::to_string(bytes_.size()) + ", " +
                           std::to_string(count) + " bytes are needed from byte " +
                           std::to_string(position_));
    }
    const std::span<const std::byte> taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  template <typename T>
  absl::StatusOr<T> Number() {
    static_assert(std::endian::native == std::endian::little);
    KVP_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, Take(sizeof(T)));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  // A 64-bit length, then so many bytes.
  absl::StatusOr<std::string_view> String() {
    KVP_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>());
    KVP_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, Take(length));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  std::span<const std::byte> bytes_;
  size_t position_ = 0;
};

}  // namespace kvpareto
