// A cluster of blocks per row, each with a part of the vocabulary; what all must know of all parts
// (the largest rank, sums of weights, histograms) goes through their shared memory. Everything
// that is summed is an integer: so the number of blocks does not matter. Compiled without fused
// multiply-add, so that a token weighs what it does on the host.
#include "engine/cuda/cluster.cuh"
#include "engine/cuda/overlap.cuh"
#include "engine/cuda/sample.h"

namespace kvpareto::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kMaxCluster = 8;

// Ranks are looked through digit by digit, of 11, 11 and 10 bits: those of the logit, then those of
// the id, which only equal logits need.
constexpr int kDigits = 6;
constexpr int kLastLogitShift = 32;
constexpr int kBins = 1 << 11;
__device__ __forceinline__ int ShiftOf(int digit) {
  const int in_half = digit % 3 == 0 ? 21 : digit % 3 == 1 ? 10 : 0;
  return digit < 3 ? kLastLogitShift + in_half : in_half;
}

constexpr int kBinsPerThread = kBins / kThreads;

// 64-bit sums in two halves, since shared memory adds 32 bits at a time.
struct Histogram {
  uint32_t low[kBins];
  uint32_t high[kBins];

  __device__ void Add(int bin, uint64_t value) {
    const uint32_t part = static_cast<uint32_t>(value);
    const uint32_t before = atomicAdd(&low[bin], part);
    const uint32_t carry = before + part < before ? 1 : 0;
    const uint32_t upper = static_cast<uint32_t>(value >> 32) + carry;
    if (upper != 0) atomicAdd(&high[bin], upper);
  }
};

struct Shared {
  // Two of each, in turn: peers may still read the one before.
  uint64_t exchange[2];
  Histogram histogram[2];
  uint64_t warp_values[kWarps];
  // Of a histogram: the bin, what is in it and above it, what was looked for.
  uint64_t chosen_bin, in_bin, above, target;
};

struct Sum {
  static __device__ uint64_t Of(uint64_t a, uint64_t b) { return a + b; }
};
struct Max {
  static __device__ uint64_t Of(uint64_t a, uint64_t b) { return a > b ? a : b; }
};

// Over the warps before this one and over all.
struct Scanned {
  uint64_t before;
  uint64_t all;
};

class RowSampler {
 public:
  __device__ RowSampler(const SampleJob& job, int vocab, int cluster, Shared& shared)
      : job_(job), shared_(shared), cluster_(cluster), rank_(ClusterRank()) {
    // Of a block, then of a warp: neighbouring tokens.
    const int part = (vocab + cluster - 1) / cluster;
    begin_ = min(rank_ * part, vocab);
    end_ = min(begin_ + part, vocab);
    const int warp_part = (part + kThreads - 1) / kThreads * 32;
    warp_begin_ = min(begin_ + warp_ * warp_part, end_);
    warp_end_ = min(warp_begin_ + warp_part, end_);
  }

  __device__ void Run() {
    Adjust();
    const uint64_t best = LargestRank();
    max_ = LogitOf(best);
    if (best == kBad || max_ == -kInfinity) return Write(kNotFinite);
    if (job_.temperature == 0.0f) return Write(TokenOf(best));
    scale_ = WeightScale(job_.temperature);
    if (job_.top_k > 0) {
      const uint64_t wanted = job_.top_k;
      CutBelow([](uint64_t) { return uint64_t{1}; },
               [&](uint64_t total) { return min(wanted, total); });
    }
    if (job_.top_p < 1.0f) {
      CutBelow([&](uint64_t rank) { return TokenWeight(LogitOf(rank), max_, scale_); },
               [&](uint64_t total) { return NucleusWeight(job_.top_p, total); });
    }
    min_logit_ = max_ + job_.min_logit_offset;
    Draw();
  }

 private:
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();
  static constexpr uint64_t kBad = ~uint64_t{0};

  // Calls fn(token, logit) for the tokens of this thread.
  template <typename Fn>
  __device__ void ForEach(const Fn& fn) const {
    constexpr int kAhead = 4;
    for (int first = warp_begin_; first < warp_end_; first += 32 * kAhead) {
      float logits[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int token = first + i * 32 + lane_;
        logits[i] = token < warp_end_ ? job_.logits[token] : 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int token = first + i * 32 + lane_;
        if (token < warp_end_) fn(token, logits[i]);
      }
    }
  }

  // Penalties and biases, in place; a token is in each list once.
  __device__ void Adjust() const {
    if (job_.seen != nullptr) {
      ForEach([&](int token, float logit) {
        if ((job_.seen[token / 32] >> token % 32 & 1) == 0) return;
        job_.logits[token] = WithRepetitionPenalty(logit, job_.repetition_penalty);
      });
      __syncthreads();
    }
    for (int i = threadIdx.x; i < job_.num_counts; i += kThreads) {
      const auto [token, count] = job_.counts[i];
      if (token < begin_ || token >= end_) continue;
      job_.logits[token] = WithCountPenalties(job_.logits[token], job_.presence_penalty,
                                              job_.frequency_penalty, count);
    }
    if (job_.num_counts > 0) __syncthreads();
    for (int i = threadIdx.x; i < job_.num_biases; i += kThreads) {
      const auto [token, bias] = job_.biases[i];
      if (token >= begin_ && token < end_) job_.logits[token] += bias;
    }
    if (job_.num_biases > 0) __syncthreads();
  }

  // kBad where a logit is NaN or +infinity.
  __device__ uint64_t LargestRank() {
    uint64_t best = 0;
    ForEach([&](int token, float logit) {
      best = Max::Of(best, logit < kInfinity ? TokenRank(logit, token) : kBad);
    });
    return OverCluster<Max>(OverBlock<Max>(best).all).all;
  }

  // Raises cut_ to the rank of the last token of those that, most likely first, weigh what is
  // `wanted` of the total of those above cut_ now.
  template <typename Weight, typename Wanted>
  __device__ void CutBelow(const Weight& weight, const Wanted& wanted) {
    uint64_t prefix = 0, above = 0, target = 0;
    int prefix_shift = 64;  // bits from here up are known
#pragma unroll 1
    for (int digit = 0; digit < kDigits; ++digit) {
      const int shift = ShiftOf(digit);
      const int bits = prefix_shift - shift;
      Histogram& histogram = shared_.histogram[histogram_turn_];
      for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
        histogram.low[bin] = histogram.high[bin] = 0;
      }
      __syncthreads();
      ForEach([&](int token, float logit) {
        const uint64_t rank = TokenRank(logit, token);
        if (rank < cut_ || (prefix_shift < 64 && rank >> prefix_shift != prefix)) return;
        const uint64_t value = weight(rank);
        if (value != 0) {
          histogram.Add(static_cast<int>(rank >> shift & ((1u << bits) - 1)), value);
        }
      });
      Meet();
      ChooseBin(histogram, above, target, wanted);
      prefix = prefix << bits | shared_.chosen_bin;
      above = shared_.above;
      target = shared_.target;
      prefix_shift = shift;
      histogram_turn_ ^= 1;
      // All of the bin is wanted; or it is one token.
      if (above + shared_.in_bin == target) break;
      if (shift == kLastLogitShift && shared_.in_bin == weight(prefix << shift)) break;
    }
    cut_ = Max::Of(cut_, prefix << prefix_shift);
  }

  // The highest bin with which what is above and in it reaches the target; the first time, when it
  // is 0, the target is what is wanted of the sum over all bins. What was found is in shared
  // memory.
  template <typename Wanted>
  __device__ void ChooseBin(const Histogram& histogram, uint64_t above, uint64_t target,
                            const Wanted& wanted) {
    // Threads have neighbouring bins, the first one the highest.
    const int top = kBins - 1 - static_cast<int>(threadIdx.x) * kBinsPerThread;
    uint64_t bins[kBinsPerThread], own = 0;
#pragma unroll
    for (int i = 0; i < kBinsPerThread; ++i) {
      bins[i] = 0;
      for (int peer = 0; peer < cluster_; ++peer) {
        bins[i] += LoadFromPeer(&histogram.low[top - i], peer);
        bins[i] += uint64_t{LoadFromPeer(&histogram.high[top - i], peer)} << 32;
      }
      own += bins[i];
    }
    uint64_t before = own;  // of the threads of the warp up to this one
    for (int offset = 1; offset < 32; offset *= 2) {
      const uint64_t other = __shfl_up_sync(~0u, before, offset);
      if (lane_ >= offset) before += other;
    }
    const uint64_t warp_total = __shfl_sync(~0u, before, 31);
    before -= own;
    const Scanned warps = Scan(warp_total);
    if (target == 0) target = wanted(warps.all);
    uint64_t sum = above + warps.before + before;
#pragma unroll
    for (int i = 0; i < kBinsPerThread; ++i) {
      if (sum < target && sum + bins[i] >= target) {
        shared_.chosen_bin = top - i;
        shared_.in_bin = bins[i];
        shared_.above = sum;
        shared_.target = target;
      }
      sum += bins[i];
    }
    __syncthreads();
  }

  __device__ uint64_t WeightOf(int token, float logit) const {
    const bool kept = logit >= min_logit_ && TokenRank(logit, token) >= cut_;
    return kept ? TokenWeight(logit, max_, scale_) : 0;
  }

  // The token whose weight takes the sum, in order of ids, beyond the point drawn.
  __device__ void Draw() {
    uint64_t own = 0;
    ForEach([&](int token, float logit) { own += WeightOf(token, logit); });
    for (int offset = 16; offset > 0; offset /= 2) own += __shfl_xor_sync(~0u, own, offset);
    const Scanned warps = Scan(own);
    const Scanned blocks = OverCluster<Sum>(warps.all);
    const uint64_t point = DrawPoint(job_.random, blocks.all);
    uint64_t sum = blocks.before + warps.before;
    if (point >= sum && point < sum + own) FindIn(sum, point);
    Leave();
  }

  // Of this warp's tokens; `sum` is the weight of all before them.
  __device__ void FindIn(uint64_t sum, uint64_t point) const {
    for (int first = warp_begin_; first < warp_end_; first += 32) {
      const int token = first + lane_;
      const uint64_t weight = token < warp_end_ ? WeightOf(token, job_.logits[token]) : 0;
      uint64_t up_to = weight;
      for (int offset = 1; offset < 32; offset *= 2) {
        const uint64_t other = __shfl_up_sync(~0u, up_to, offset);
        if (lane_ >= offset) up_to += other;
      }
      if (point >= sum + up_to - weight && point < sum + up_to) *job_.token = token;
      sum += __shfl_sync(~0u, up_to, 31);
      if (sum > point) return;
    }
  }

  __device__ void Write(int32_t token) {
    if (rank_ == 0 && threadIdx.x == 0) *job_.token = token;
    Leave();
  }

  // Over the warps of the block; `value` is the same in all lanes.
  __device__ Scanned Scan(uint64_t value) {
    if (lane_ == 0) shared_.warp_values[warp_] = value;
    __syncthreads();
    Scanned scanned = {0, 0};
    for (int w = 0; w < kWarps; ++w) {
      if (w == warp_) scanned.before = scanned.all;
      scanned.all += shared_.warp_values[w];
    }
    __syncthreads();
    return scanned;
  }

  template <typename Op>
  __device__ Scanned OverBlock(uint64_t value) {
    for (int offset = 16; offset > 0; offset /= 2) {
      value = Op::Of(value, __shfl_xor_sync(~0u, value, offset));
    }
    if (lane_ == 0) shared_.warp_values[warp_] = value;
    __syncthreads();
    Scanned result = {0, 0};
    for (int w = 0; w < kWarps; ++w) result.all = Op::Of(result.all, shared_.warp_values[w]);
    __syncthreads();
    return result;
  }

  // Over the blocks of the cluster; `value` is the same in all threads.
  template <typename Op>
  __device__ Scanned OverCluster(uint64_t value) {
    uint64_t& own = shared_.exchange[exchange_turn_];
    exchange_turn_ ^= 1;
    if (threadIdx.x == 0) own = value;
    Meet();
    Scanned result = {0, 0};
    for (int peer = 0; peer < cluster_; ++peer) {
      if (peer == rank_) result.before = result.all;
      result.all = Op::Of(result.all, LoadFromPeer(&own, peer));
    }
    return result;
  }

  // What all blocks have written to their shared memory is there.
  __device__ void Meet() const {
    if (cluster_ == 1) return __syncthreads();
    ClusterArrive();
    ClusterWait();
  }
  // Peers may still read this block's shared memory.
  __device__ void Leave() const { Meet(); }

  const SampleJob& job_;
  Shared& shared_;
  const int cluster_, rank_;
  const int warp_ = threadIdx.x / 32, lane_ = threadIdx.x % 32;
  int begin_, end_, warp_begin_, warp_end_;
  int exchange_turn_ = 0, histogram_turn_ = 0;
  float max_ = 0.0f, min_logit_ = 0.0f;
  double scale_ = 0.0;
  uint64_t cut_ = 0;  // tokens of lower rank are out
};

__global__ void __launch_bounds__(kThreads) SampleKernel(SampleParams p, int cluster) {
  __shared__ Shared shared;
  BeginOverlapped();
  const SampleJob job = p.jobs[blockIdx.x / cluster];
  RowSampler(job, p.vocab, cluster, shared).Run();
}

}  // namespace

void LaunchSample(const SampleParams& params, LaunchQueue& queue) {
  const int cluster = queue.has_clusters() ? kMaxCluster : 1;
  queue.Add(SampleKernel, {params.num_jobs * cluster, kThreads, 0, true, cluster}, params, cluster);
}

}  // namespace kvpareto::cuda
