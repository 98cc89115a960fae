// Kernel launches of a step, collected and issued together: as a CUDA graph where the same launches
// were issued before.
//
// A launch costs the host a few microseconds and the device a gap; a decode step has hundreds. So
// launches are only noted at first, with their arguments. What changes from step to step
// (positions, addresses of blocks) is in tables that are uploaded to the same places each step, so
// that a decode step usually consists of the launches of the step before: then their graph is
// replayed. Nothing has to be declared: launches are compared.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <span>
#include <type_traits>
#include <unordered_set>
#include <vector>

namespace kvpareto::cuda {

// Lets a kernel have as much dynamic shared memory as the device can give.
void AllowLargeShared(const void* kernel);

struct LaunchShape {
  dim3 grid;
  dim3 block;
  size_t shared_bytes = 0;
  // The kernel calls WaitForEarlierKernels (overlap.cuh) before it touches what they use: it may
  // start while the one before it is still running.
  bool overlaps = false;
  // Blocks of a cluster, neighbours in x; 1: no clusters.
  int cluster = 1;
};

class LaunchQueue {
 public:
  // `host` is pinned, `device` on the device, both of `bytes`: for uploads.
  LaunchQueue(cudaStream_t stream, std::byte* host, std::byte* device, size_t bytes);
  ~LaunchQueue();
  LaunchQueue(const LaunchQueue&) = delete;
  LaunchQueue& operator=(const LaunchQueue&) = delete;

  // Notes a launch. Arguments are plain data, of exactly the kernel's parameter types.
  template <typename... Params>
  void Add(void (*kernel)(Params...), const LaunchShape& shape,
           const std::type_identity_t<Params>&... args) {
    static_assert((std::is_trivially_copyable_v<Params> && ...));
    segment_.launches.push_back({reinterpret_cast<const void*>(kernel), shape,
                                 segment_.arg_offsets.size(), sizeof...(Params)});
    (AddArgument(&args, sizeof(Params)), ...);
    if (segment_.launches.size() < limit_) return;
    Flush();
    limit_ =
        limit_ * kSegmentGrowth < kSegmentLaunches ? limit_ * kSegmentGrowth : kSegmentLaunches;
  }

  // The place of a small table on the device; it is there when launches noted from now on run,
  // until the next Rewind. The same content within a few uploads gets the same place. `capacity`
  // bytes are set aside, so that a table that grows slowly keeps those behind it in place. Null: no
  // room; the stream has to be synchronized and rewound first.
  const std::byte* Upload(std::span<const std::byte> bytes, size_t capacity);

  // Of the device: for grids that are resident as a whole, and what a block can get.
  int multiprocessors() const { return multiprocessors_; }
  size_t shared_limit() const { return shared_limit_; }
  bool has_clusters() const { return is_hopper_; }

  // Issues what was noted.
  void Flush();
  // All uploads have been used: the stream has been synchronized.
  void Rewind();

  // The first error since the last call.
  cudaError_t TakeError();

 private:
  // Of a segment. Few at first, so that the device starts early in a step; then as many as it is
  // busy with while the host collects the next ones.
  static constexpr size_t kFirstLaunches = 16;
  static constexpr size_t kSegmentGrowth = 2;
  static constexpr size_t kSegmentLaunches = 128;
  static constexpr size_t kMinGraphLaunches = 16;
  static constexpr size_t kMaxGraphs = 128;
  static constexpr int kRecent = 8;

  struct Launch {
    const void* kernel;
    LaunchShape shape;
    size_t first_arg;
    size_t num_args;
  };
  // Launches and what was uploaded for them.
  struct Segment {
    std::vector<Launch> launches;
    std::vector<size_t> arg_offsets;  // into `args`
    std::vector<std::byte> args;
    size_t upload_begin = 0;
    size_t upload_end = 0;

    bool SameAs(const Segment& other) const;
    void Clear(size_t upload_at);
  };
  struct Graph {
    Segment segment;
    cudaGraphExec_t exec = nullptr;  // null: seen once
  };
  struct Recent {
    size_t offset = 0;
    size_t bytes = 0;
  };

  void AddArgument(const void* data, size_t bytes);
  void Prepare(const void* kernel);
  void Issue(const Segment& segment);
  void Instantiate(Graph& graph);
  void Note(cudaError_t error) {
    if (error_ == cudaSuccess) error_ = error;
  }

  const cudaStream_t stream_;
  std::byte* const host_;
  std::byte* const device_;
  const size_t bytes_;
  bool is_hopper_ = false;  // compute capability 9: kernels start early, blocks form clusters
  int multiprocessors_ = 0;
  size_t shared_limit_ = 0;
  size_t next_ = 0;
  Recent recent_[kRecent];
  int recent_next_ = 0;
  Segment segment_;
  size_t limit_ = kFirstLaunches;
  std::unordered_set<const void*> prepared_;  // kernels that Prepare has seen
  std::deque<Graph> graphs_;                  // oldest first
  size_t next_guess_ = 0;                     // the graph after the one replayed last
  cudaError_t error_ = cudaSuccess;
};

}  // namespace kvpareto::cuda
