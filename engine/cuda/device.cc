#include "engine/cuda/device.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace kvpareto::cuda {

absl::Status DeviceError(cudaError_t error, std::string_view what) {
  const std::string message = absl::StrCat(std::string(what), ": ", cudaGetErrorName(error), ": ",
                                           cudaGetErrorString(error));
  if (error == cudaErrorMemoryAllocation) {
    return MakeError(absl::StatusCode::kResourceExhausted, "DEVICE_MEMORY", message);
  }
  return MakeError(absl::StatusCode::kInternal, "DEVICE_LOST", message);
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> DeviceMemory::Create(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, std::max<size_t>(bytes, 1));
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    return DeviceError(
        error, absl::StrCat("allocating ", bytes, " bytes of device memory, of which ", free_bytes,
                            " are free"));
  }
  return std::unique_ptr<DeviceMemory>(new DeviceMemory(static_cast<std::byte*>(data), bytes));
}

DeviceMemory::~DeviceMemory() { cudaFree(data_); }

absl::StatusOr<std::unique_ptr<PinnedMemory>> PinnedMemory::Create(size_t bytes) {
  void* data = nullptr;
  const cudaError_t error = cudaMallocHost(&data, std::max<size_t>(bytes, 1));
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    return DeviceError(error, absl::StrCat("allocating ", bytes, " bytes of pinned memory"));
  }
  return std::unique_ptr<PinnedMemory>(new PinnedMemory(static_cast<std::byte*>(data), bytes));
}

PinnedMemory::~PinnedMemory() { cudaFreeHost(data_); }

absl::StatusOr<std::unique_ptr<Device>> Device::Create() {
  int count = 0;
  const cudaError_t found = cudaGetDeviceCount(&count);
  if (found != cudaSuccess || count == 0) {
    (void)cudaGetLastError();
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "NO_CUDA_DEVICE",
        found == cudaSuccess ? "this machine has no CUDA device" : cudaGetErrorString(found));
  }
  std::unique_ptr<Device> device(new Device);
  Device& d = *device;
  d.Note(cudaGetDevice(&d.index_), "choosing a device");
  d.Note(cudaStreamCreateWithFlags(&d.stream_, cudaStreamNonBlocking), "creating a stream");
  d.Note(cudaDeviceGetAttribute(&d.multiprocessors_, cudaDevAttrMultiProcessorCount, 0),
         "reading the device's properties");
  const auto take = [&d](auto allocate, std::byte*& to, size_t bytes) {
    void* memory = nullptr;
    d.Note(allocate(&memory, bytes), "allocating the backend's buffers");
    to = static_cast<std::byte*>(memory);
  };
  const auto pinned = [](void** to, size_t bytes) { return cudaMallocHost(to, bytes); };
  const auto on_device = [](void** to, size_t bytes) { return cudaMalloc(to, bytes); };
  take(pinned, d.upload_host_, kUploadBytes);
  take(pinned, d.bounce_host_, kBounceBytes);
  take(on_device, d.upload_device_, kUploadBytes);
  take(on_device, d.bounce_device_, kBounceBytes);
  if (!d.status_.ok()) return d.status_;
  d.queue_ =
      std::make_unique<LaunchQueue>(d.stream_, d.upload_host_, d.upload_device_, kUploadBytes);
  return device;
}

Device::~Device() {
  if (stream_ != nullptr) {
    if (queue_ != nullptr) queue_->Flush();
    cudaStreamSynchronize(stream_);
    queue_.reset();
    cudaStreamDestroy(stream_);
  }
  cudaFreeHost(upload_host_);
  cudaFreeHost(bounce_host_);
  cudaFree(upload_device_);
  cudaFree(bounce_device_);
}

void Device::Note(cudaError_t error, std::string_view what) {
  if (error != cudaSuccess && status_.ok()) status_ = DeviceError(error, what);
}

absl::Status Device::Synchronize() {
  queue_->Flush();
  Note(queue_->TakeError(), "launching kernels");
  Note(cudaStreamSynchronize(stream_), "waiting for the device");
  queue_->Rewind();
  uploaded_bytes_ = 0;
  ++upload_epoch_;
  return status_;
}

void Device::BeginOperation() {
  if (uploaded_bytes_ > kUploadBytes / 2) (void)Synchronize();
}

const std::byte* Device::UploadBytes(std::span<const std::byte> bytes, size_t capacity) {
  const std::byte* place = queue_->Upload(bytes, capacity);
  KVP_CHECK(place != nullptr) << bytes.size() << " bytes in one operation";
  uploaded_bytes_ += std::max(bytes.size(), capacity) + 256;
  return place;
}

namespace {

// One thread copies slower than the bus brings the bytes.
void CopyOnHost(std::byte* to, const std::byte* from, size_t bytes) {
  constexpr size_t kPart = size_t{1} << 20;
  constexpr size_t kMaxThreads = 8;
  const size_t threads = std::clamp<size_t>(bytes / kPart, 1, kMaxThreads);
  const size_t part = (bytes / threads + 63) / 64 * 64;
  std::vector<std::thread> others;
  for (size_t begin = part; begin < bytes; begin += part) {
    others.emplace_back(std::memcpy, to + begin, from + begin, std::min(part, bytes - begin));
  }
  std::memcpy(to, from, std::min(part, bytes));
  for (std::thread& thread : others) thread.join();
}

bool IsPinned(const void* memory) {
  cudaPointerAttributes attributes;
  return cudaPointerGetAttributes(&attributes, memory) == cudaSuccess &&
         attributes.type == cudaMemoryTypeHost;
}

}  // namespace

// Through pinned memory: pageable copies run at a fraction of the bus's speed.
void Device::CopyToHost(void* to, const std::byte* from, size_t bytes) {
  if (IsPinned(to)) {
    Note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "copying to the host");
    (void)Synchronize();
    return;
  }
  for (size_t done = 0; done < bytes && ok(); done += kBounceBytes) {
    const size_t part = std::min(kBounceBytes, bytes - done);
    Note(cudaMemcpyAsync(bounce_host_, from + done, part, cudaMemcpyDeviceToHost, stream()),
         "copying to the host");
    if (!Synchronize().ok()) return;
    CopyOnHost(static_cast<std::byte*>(to) + done, bounce_host_, part);
  }
}

void Device::CopyFromHost(std::byte* to, const void* from, size_t bytes) {
  for (size_t done = 0; done < bytes && ok(); done += kBounceBytes) {
    const size_t part = std::min(kBounceBytes, bytes - done);
    CopyOnHost(bounce_host_, static_cast<const std::byte*>(from) + done, part);
    Note(cudaMemcpyAsync(to + done, bounce_host_, part, cudaMemcpyHostToDevice, stream()),
         "copying from the host");
    if (!Synchronize().ok()) return;
  }
}

// The device's copy must not overlap: parts go through a buffer, in ascending order.
void Device::Move(std::byte* to, const std::byte* from, size_t bytes) {
  if (to + bytes <= from) {
    Note(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "moving");
    return;
  }
  for (size_t done = 0; done < bytes; done += kBounceBytes) {
    const size_t part = std::min(kBounceBytes, bytes - done);
    Note(cudaMemcpyAsync(bounce_device_, from + done, part, cudaMemcpyDeviceToDevice, stream()),
         "moving");
    Note(cudaMemcpyAsync(to + done, bounce_device_, part, cudaMemcpyDeviceToDevice, stream()),
         "moving");
  }
}

std::optional<DeviceMemoryInfo> Device::Memory() const {
  size_t free_bytes = 0, total_bytes = 0;
  const bool read = cudaSetDevice(index_) == cudaSuccess &&
                    cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess;
  if (!read) return std::nullopt;
  return DeviceMemoryInfo{.total_bytes = total_bytes, .free_bytes = free_bytes};
}

std::byte* Scratch::Reserve(size_t bytes) {
  if (memory_ && memory_->bytes() >= bytes) return memory_->data();
  // What was issued before may still use the old memory.
  if (!device_.Synchronize().ok()) return nullptr;
  if (memory_) device_.scratch_bytes_ -= memory_->bytes();
  memory_.reset();
  auto memory = DeviceMemory::Create(bytes);
  if (!memory.ok()) {
    device_.Note(cudaErrorMemoryAllocation, "growing the backend's scratch memory");
    return nullptr;
  }
  memory_ = *std::move(memory);
  device_.scratch_bytes_ += bytes;
  return memory_->data();
}

}  // namespace kvpareto::cuda
