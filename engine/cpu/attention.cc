// Attention: cuts a step into independent tasks, runs them on the pool, merges partial states.
#include "engine/cpu/attention.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "engine/base/check.h"
#include "engine/cpu/angle_table.h"
#include "engine/cpu/attention_buffer.h"
#include "engine/cpu/attention_plan.h"
#include "engine/cpu/attention_task.h"

namespace kvpareto::cpu {
namespace {

class CpuAttention : public AttentionKernel {
 public:
  CpuAttention(Isa isa, ThreadPool* pool) : isa_(isa), pool_(*pool), angles_(ElementwiseFor(isa)) {}

  void Run(const AttentionArgs& args) override;
  size_t scratch_bytes() const override { return high_water_bytes_; }

 private:
  // Whether any sequence has a key bias; their angles are in the table then.
  bool CoverAngles(const AttentionArgs& args);
  void Reserve(const AttentionKernels& kernels, const AttentionArgs& args, bool key_bias);
  void RunDecodeTask(const AttentionKernels& kernels, int item, std::byte* scratch,
                     const AttentionArgs& args);
  void MergeRow(const DecodeRow& row, int kv_head, const AttentionArgs& args);

  const Isa isa_;
  ThreadPool& pool_;
  AngleTable angles_;
  AttentionPlan plan_;
  AlignedBuffer scratch_;               // [threads, thread_scratch_bytes_]
  AlignedBuffer outputs_;               // [states, head_dim] floats: o of every partial state
  std::vector<SoftmaxState> states_;    // [states]
  std::vector<std::atomic<int>> left_;  // [decode rows, kv_heads] splits not done yet
  size_t thread_scratch_bytes_ = 0;
  size_t high_water_bytes_ = 0;
};

bool CpuAttention::CoverAngles(const AttentionArgs& args) {
  int positions = 0;
  for (const AttentionSequence& sequence : args.sequences) {
    if (!sequence.key_bias || sequence.num_rows == 0) continue;
    KVP_CHECK(2 * static_cast<int>(args.inverse_frequency.size()) == args.head_dim &&
              args.bias_query.rows == args.q.rows);
    // Kernels read the angles of all slots of a piece, rounded up to whole groups.
    const int end = sequence.first_position + sequence.num_rows;
    positions = std::max(positions, end + kv::kBlockTokens + kAnglePositions);
  }
  if (positions == 0) return false;
  angles_.Cover(args.inverse_frequency, positions);
  return true;
}

void CpuAttention::Reserve(const AttentionKernels& kernels, const AttentionArgs& args,
                           bool key_bias) {
  const int group = args.heads / args.kv_heads;
  thread_scratch_bytes_ =
      std::max(thread_scratch_bytes_,
               kv::AlignUp(kernels.scratch_bytes(group, args.head_dim, key_bias), kCacheLineBytes));
  scratch_.Reserve(thread_scratch_bytes_ * pool_.threads());
  outputs_.Reserve(sizeof(float) * plan_.num_states * args.head_dim);
  states_.resize(plan_.num_states);
  for (int i = 0; i < plan_.num_states; ++i) {
    states_[i] = SoftmaxState{.o = outputs_.as<float>() + static_cast<size_t>(i) * args.head_dim};
  }
  const size_t counters = plan_.decode_rows.size() * args.kv_heads;
  if (left_.size() < counters) left_ = std::vector<std::atomic<int>>(counters);
  for (size_t i = 0; i < counters; ++i) {
    left_[i].store(plan_.decode_rows[i / args.kv_heads].splits, std::memory_order_relaxed);
  }
  high_water_bytes_ =
      std::max(high_water_bytes_, angles_.bytes() + scratch_.bytes() + outputs_.bytes() +
                                      plan_.bytes() + states_.capacity() * sizeof(SoftmaxState) +
                                      left_.size() * sizeof(left_[0]));
}

void CpuAttention::Run(const AttentionArgs& args) {
  KVP_CHECK(args.heads % args.kv_heads == 0 && args.head_dim <= kMaxHeadDim);
  const AttentionKernels& kernels = AttentionKernelsFor(isa_, args.head_dim);
  const int group = args.heads / args.kv_heads;
  const bool key_bias = CoverAngles(args);
  plan_.Build(args, kernels.prefill_rows(group, args.head_dim), angles_.view());
  Reserve(kernels, args, key_bias);
  pool_.For(static_cast<int>(plan_.tasks.size()), [&](int item, int thread) {
    const PlannedTask& planned = plan_.tasks[plan_.order[item]];
    std::byte* scratch = scratch_.data() + thread * thread_scratch_bytes_;
    if (planned.decode_row < 0) {
      kernels.prefill(planned.task, scratch);
    } else {
      RunDecodeTask(kernels, item, scratch, args);
    }
  });
}

// The thread that finishes a row's last split merges them all, in order.
void CpuAttention::RunDecodeTask(const AttentionKernels& kernels, int item, std::byte* scratch,
                                 const AttentionArgs& args) {
  const PlannedTask& planned = plan_.tasks[plan_.order[item]];
  AttentionTask task = planned.task;
  // The other threads take the items before it.
  const size_t next = static_cast<size_t>(item) + pool_.threads();
  if (next < plan_.tasks.size()) task.next = &plan_.tasks[plan_.order[next]].task;
  task.states = &states_[planned.first_state];
  kernels.decode(task, scratch);
  std::atomic<int>& left = left_[planned.decode_row * args.kv_heads + task.kv_head];
  if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    MergeRow(plan_.decode_rows[planned.decode_row], task.kv_head, args);
  }
}

void CpuAttention::MergeRow(const DecodeRow& row, int kv_head, const AttentionArgs& args) {
  const int group = args.heads / args.kv_heads;
  float* out = reinterpret_cast<float*>(args.out.data) +
               static_cast<size_t>(row.row) * args.out.cols + kv_head * group * args.head_dim;
  for (int g = 0; g < group; ++g, out += args.head_dim) {
    // State index: [kv_heads, splits, group], behind the row's first.
    const SoftmaxState* const first = &states_[row.first_state + kv_head * row.splits * group + g];
    MergeStates(first, row.splits, group, args.head_dim, out);
  }
}

}  // namespace

std::unique_ptr<AttentionKernel> AttentionKernel::Create(Isa isa, ThreadPool* pool) {
  return std::make_unique<CpuAttention>(isa, pool);
}

}  // namespace kvpareto::cpu
