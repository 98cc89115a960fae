// Growing scratch memory aligned to cache lines.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "engine/base/check.h"
#include "engine/kv/tile.h"

namespace kvpareto::cpu {

inline constexpr size_t kCacheLineBytes = 64;

// Contents are lost when it grows; it never shrinks.
class AlignedBuffer {
 public:
  void Reserve(size_t bytes) {
    if (bytes <= bytes_) return;
    bytes_ = kv::AlignUp(bytes);
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(kv::kRegionAlignment, bytes_)));
    KVP_CHECK(data_ != nullptr) << bytes_ << " bytes";
  }
  std::byte* data() const { return data_.get(); }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_.get());
  }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { std::free(data); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t bytes_ = 0;
};

}  // namespace kvpareto::cpu
