#include "engine/cuda/launch_queue.h"

namespace kvpareto::cuda {
namespace {

constexpr size_t kAlignment = 256;

size_t Align(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

bool Same(const dim3& a, const dim3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

}  // namespace

void AllowLargeShared(const void* kernel) {
  int device = 0, most = 0;
  cudaFuncAttributes attributes;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) return;
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       most - static_cast<int>(attributes.sharedSizeBytes));
}

LaunchQueue::LaunchQueue(cudaStream_t stream, std::byte* host, std::byte* device, size_t bytes)
    : stream_(stream), host_(host), device_(device), bytes_(bytes) {
  int index = 0, major = 0, shared = 0;
  cudaGetDevice(&index);
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, index);
  cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
  is_hopper_ = major >= 9;
  shared_limit_ = static_cast<size_t>(shared);
}

LaunchQueue::~LaunchQueue() {
  for (Graph& graph : graphs_) {
    if (graph.exec != nullptr) cudaGraphExecDestroy(graph.exec);
  }
}

bool LaunchQueue::Segment::SameAs(const Segment& other) const {
  if (launches.size() != other.launches.size() || args.size() != other.args.size() ||
      upload_begin != other.upload_begin || upload_end != other.upload_end) {
    return false;
  }
  for (size_t i = 0; i < launches.size(); ++i) {
    const Launch &a = launches[i], &b = other.launches[i];
    if (a.kernel != b.kernel || !Same(a.shape.grid, b.shape.grid) ||
        !Same(a.shape.block, b.shape.block) || a.shape.shared_bytes != b.shape.shared_bytes ||
        a.shape.cluster != b.shape.cluster) {
      return false;
    }
  }
  return std::memcmp(args.data(), other.args.data(), args.size()) == 0;
}

void LaunchQueue::Segment::Clear(size_t upload_at) {
  launches.clear();
  arg_offsets.clear();
  args.clear();
  upload_begin = upload_end = upload_at;
}

void LaunchQueue::AddArgument(const void* data, size_t bytes) {
  constexpr size_t kArgAlignment = 16;
  const size_t offset = segment_.args.size();
  segment_.arg_offsets.push_back(offset);
  segment_.args.resize(offset + (bytes + kArgAlignment - 1) / kArgAlignment * kArgAlignment);
  std::memcpy(segment_.args.data() + offset, data, bytes);
}

const std::byte* LaunchQueue::Upload(std::span<const std::byte> bytes, size_t capacity) {
  if (bytes.empty()) return device_;
  for (const Recent& recent : recent_) {
    if (recent.bytes == bytes.size() &&
        std::memcmp(host_ + recent.offset, bytes.data(), bytes.size()) == 0) {
      return device_ + recent.offset;
    }
  }
  const size_t taken = Align(capacity > bytes.size() ? capacity : bytes.size());
  if (next_ + taken > bytes_) return nullptr;
  const size_t offset = next_;
  next_ += taken;
  std::memcpy(host_ + offset, bytes.data(), bytes.size());
  segment_.upload_end = next_;
  recent_[recent_next_] = {offset, bytes.size()};
  recent_next_ = (recent_next_ + 1) % kRecent;
  return device_ + offset;
}

// Kernels that divide a multiprocessor's memory differently cannot run beside each other on it: so
// all of them get the division with the most shared memory.
void LaunchQueue::Prepare(const void* kernel) {
  if (!prepared_.insert(kernel).second) return;
  Note(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                            cudaSharedmemCarveoutMaxShared));
}

void LaunchQueue::Issue(const Segment& segment) {
  if (segment.upload_end > segment.upload_begin) {
    Note(cudaMemcpyAsync(device_ + segment.upload_begin, host_ + segment.upload_begin,
                         segment.upload_end - segment.upload_begin, cudaMemcpyHostToDevice,
                         stream_));
  }
  std::vector<void*> args;
  for (const Launch& launch : segment.launches) {
    Prepare(launch.kernel);
    args.clear();
    for (size_t i = 0; i < launch.num_args; ++i) {
      const size_t offset = segment.arg_offsets[launch.first_arg + i];
      args.push_back(const_cast<std::byte*>(segment.args.data()) + offset);
    }
    cudaLaunchAttribute attributes[2] = {};
    unsigned count = 0;
    if (is_hopper_ && launch.shape.overlaps) {
      attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
      attributes[count++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (launch.shape.cluster > 1) {
      attributes[count].id = cudaLaunchAttributeClusterDimension;
      attributes[count].val.clusterDim.x = launch.shape.cluster;
      attributes[count].val.clusterDim.y = attributes[count].val.clusterDim.z = 1;
      ++count;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = launch.shape.grid;
    config.blockDim = launch.shape.block;
    config.dynamicSmemBytes = launch.shape.shared_bytes;
    config.stream = stream_;
    config.attrs = attributes;
    config.numAttrs = count;
    Note(cudaLaunchKernelExC(&config, launch.kernel, args.data()));
  }
}

void LaunchQueue::Instantiate(Graph& graph) {
  cudaGraph_t captured = nullptr;
  Note(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
  Issue(graph.segment);
  Note(cudaStreamEndCapture(stream_, &captured));
  if (error_ != cudaSuccess) return;
  Note(cudaGraphInstantiate(&graph.exec, captured, 0));
  cudaGraphDestroy(captured);
}

void LaunchQueue::Flush() {
  if (segment_.launches.empty() && segment_.upload_end == segment_.upload_begin) return;
  const auto done = [&] { segment_.Clear(next_); };
  if (segment_.launches.size() < kMinGraphLaunches || error_ != cudaSuccess) {
    Issue(segment_);
    return done();
  }
  // Steps repeat: the segment after the last one replayed is looked at first.
  const size_t count = graphs_.size();
  for (size_t i = 0; i < count; ++i) {
    const size_t index = (next_guess_ + i) % count;
    Graph& graph = graphs_[index];
    if (!graph.segment.SameAs(segment_)) continue;
    if (graph.exec == nullptr) Instantiate(graph);
    if (graph.exec != nullptr) Note(cudaGraphLaunch(graph.exec, stream_));
    next_guess_ = index + 1;
    return done();
  }
  Issue(segment_);
  if (graphs_.size() == kMaxGraphs) {
    if (graphs_.front().exec != nullptr) cudaGraphExecDestroy(graphs_.front().exec);
    graphs_.pop_front();
  }
  graphs_.push_back({segment_, nullptr});
  next_guess_ = 0;
  done();
}

void LaunchQueue::Rewind() {
  next_ = 0;
  limit_ = kFirstLaunches;
  for (Recent& recent : recent_) recent = {};
  segment_.Clear(0);
}

cudaError_t LaunchQueue::TakeError() {
  const cudaError_t error = error_;
  error_ = cudaSuccess;
  return error;
}

}  // namespace kvpareto::cuda
