// The host's side of one GPU: its stream, memory, small uploads, and the first error that occurred.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/base/status.h"
#include "engine/cuda/launch_queue.h"
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

// One cudaMallocHost.
class PinnedMemory : public DeviceBuffer {
 public:
  static absl::StatusOr<std::unique_ptr<PinnedMemory>> Create(size_t bytes);
  ~PinnedMemory() override;
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;

  std::byte* data() override { return data_; }
  size_t bytes() const override { return bytes_; }

 private:
  PinnedMemory(std::byte* data, size_t bytes) : data_(data), bytes_(bytes) {}

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

  // For what is issued directly: comes after all that was queued.
  cudaStream_t stream() {
    queue_->Flush();
    return stream_;
  }
  LaunchQueue& queue() { return *queue_; }
  int multiprocessors() const { return multiprocessors_; }
  bool ok() const { return status_.ok(); }

  // Keeps the first error.
  void Note(cudaError_t error, std::string_view what);
  absl::Status Synchronize();

  // Makes room for the uploads of one operation, before its first: up to kUploadBytes / 2.
  void BeginOperation();
  // Which uploads are still there: those made since this number changed.
  int upload_epoch() const { return upload_epoch_; }
  // Copies a small array to the device, for kernels queued from now on. Room for `capacity` values
  // is set aside, so that tables which grow slowly keep their places from step to step.
  template <typename T>
  const T* Upload(std::span<const T> values, size_t capacity = 0) {
    return reinterpret_cast<const T*>(UploadBytes(std::as_bytes(values), capacity * sizeof(T)));
  }

  void CopyToHost(void* to, const std::byte* from, size_t bytes);
  void CopyFromHost(std::byte* to, const void* from, size_t bytes);
  void Move(std::byte* to, const std::byte* from, size_t bytes);

  // Buffers for copies, and all Scratch. From any thread.
  size_t scratch_bytes() const {
    return kUploadBytes + kBounceBytes + scratch_bytes_.load(std::memory_order_relaxed);
  }
  std::optional<DeviceMemoryInfo> Memory() const;

 private:
  friend class Scratch;
  static constexpr size_t kUploadBytes = size_t{32} << 20;
  static constexpr size_t kBounceBytes = size_t{32} << 20;  // of Move, and pinned for copies

  Device() = default;
  const std::byte* UploadBytes(std::span<const std::byte> bytes, size_t capacity);

  cudaStream_t stream_ = nullptr;
  int multiprocessors_ = 0;
  absl::Status status_;
  std::byte* upload_host_ = nullptr;    // pinned, [kUploadBytes]
  std::byte* upload_device_ = nullptr;  // [kUploadBytes]
  std::byte* bounce_device_ = nullptr;
  std::byte* bounce_host_ = nullptr;  // pinned
  std::unique_ptr<LaunchQueue> queue_;
  std::atomic<size_t> scratch_bytes_ = 0;
  int index_ = 0;
  size_t uploaded_bytes_ = 0;  // since the last rewind, at least
  int upload_epoch_ = 0;
};

// Device memory that grows to the largest need so far.
class Scratch {
 public:
  explicit Scratch(Device* device) : device_(*device) {}
  // At least `bytes`, contents undefined; null when memory ran out (noted in the device).
  std::byte* Reserve(size_t bytes);
  // What is there.
  size_t bytes() const { return memory_ == nullptr ? 0 : memory_->bytes(); }

 private:
  Device& device_;
  std::unique_ptr<DeviceMemory> memory_;
};

}  // namespace kvpareto::cuda
