// The host's side of one GPU: its stream, memory, small uploads, and the first error that occurred.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/ops/backend.h"

namespace kvpareto::cuda {

// INTERNAL (DEVICE_LOST), or RESOURCE_EXHAUSTED (DEVICE_MEMORY) when memory ran out.
absl::Status DeviceError(cudaError_t error, std::string_view what);

// One cudaMalloc.
class DeviceMemory : public DeviceBuffer {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceMemory>> Create(size_t bytes);
  ~DeviceMemory() override;
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  std::byte* data() override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  DeviceMemory(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* const data_;
  const size_t bytes_;
};

// Everything is issued on one stream, so that operations run in order. Operations cannot fail: the
// first error is kept, what follows it is not run, and Synchronize reports it.
class Device {
 public:
  static absl::StatusOr<std::unique_ptr<Device>> Create();
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  cudaStream_t stream() const { return stream_; }
  int multiprocessors() const { return multiprocessors_; }
  bool ok() const { return status_.ok(); }

  // Keeps the first error; also picks up that of the last launch.
  void Note(cudaError_t error, std::string_view what);
  void NoteLaunch(std::string_view what) { Note(cudaGetLastError(), what); }
  absl::Status Synchronize();

  // Copies a small array to the device; the copy is valid until kRingBytes more have been uploaded,
  // in stream order. The same content again in a row costs nothing.
  template <typename T>
  const T* Upload(std::span<const T> values) {
    return reinterpret_cast<const T*>(UploadBytes(std::as_bytes(values)));
  }

  void CopyToHost(void* to, const std::byte* from, size_t bytes);
  void CopyFromHost(std::byte* to, const void* from, size_t bytes);
  void Move(std::byte* to, const std::byte* from, size_t bytes);

  size_t scratch_bytes() const { return kRingBytes + kBounceBytes; }

 private:
  static constexpr size_t kRingBytes = size_t{16} << 20;
  static constexpr size_t kBounceBytes = size_t{32} << 20;  // of Move, and pinned for copies
  static constexpr int kRecent = 8;

  struct Recent {
    size_t offset = 0;
    size_t bytes = 0;
  };

  Device() = default;
  const std::byte* UploadBytes(std::span<const std::byte> bytes);

  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0;
  absl::Status status_;
  std::byte* ring_host_ = nullptr;    // pinned, [kRingBytes]
  std::byte* ring_device_ = nullptr;  // [kRingBytes]
  std::byte* bounce_device_ = nullptr;
  std::byte* bounce_host_ = nullptr;  // pinned
  size_t ring_next_ = 0;
  Recent recent_[kRecent];  // the last uploads that are still in the ring
  int recent_next_ = 0;
};

// Device memory that grows to the largest need so far.
class Scratch {
 public:
  explicit Scratch(Device* device) : device_(*device) {}
  // At least `bytes`, contents undefined; null when memory ran out (noted in the device).
  std::byte* Reserve(size_t bytes);
  size_t bytes() const { return memory_ ? memory_->bytes() : 0; }

 private:
  Device& device_;
  std::unique_ptr<DeviceMemory> memory_;
};

}  // namespace kvpareto::cuda
