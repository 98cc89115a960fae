#include "engine/cpu/cpu_backend.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/cpu/attention.h"
#include "engine/cpu/decode_panel.h"
#include "engine/cpu/elementwise.h"
#include "engine/cpu/host_memory.h"
#include "engine/cpu/isa.h"
#include "engine/cpu/linear.h"
#include "engine/cpu/packed_weight.h"
#include "engine/cpu/thread_pool.h"
#include "engine/cpu/transform_row.h"
#include "engine/ops/sample.h"

namespace kvpareto {
namespace {

using cpu::Isa;
using cpu::PackedWeight;

// Row-wise work below this many elements is done by the caller alone: waking others costs more.
constexpr int kMinParallelElements = 16 << 10;
constexpr int kMaxHeadPairs = 256;

float* RowOf(const Activations& a, int row) {
  return reinterpret_cast<float*>(a.data) + static_cast<size_t>(row) * a.cols;
}

const float* VectorOf(const Weight* weight) {
  const auto* packed = static_cast<const PackedWeight*>(weight);
  KVP_CHECK(packed != nullptr && packed->is_vector());
  return packed->vector();
}

class CpuBackend : public Backend {
 public:
  CpuBackend(Isa isa, int threads)
      : isa_(isa),
        name_(absl::StrCat("cpu-", std::string(cpu::IsaName(isa)))),
        pool_(threads),
        elementwise_(cpu::ElementwiseFor(isa)),
        linear_(isa, &pool_),
        attention_(cpu::AttentionKernel::Create(isa, &pool_)) {}

  std::string_view name() const override { return name_; }
  size_t activation_bytes() const override { return sizeof(float); }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override {
    KVP_ASSIGN_OR_RETURN(auto memory, cpu::HostMemory::Create(bytes));
    return std::unique_ptr<DeviceBuffer>(std::move(memory));
  }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> AllocateOnHost(size_t bytes) override {
    return Allocate(bytes);
  }
  void CopyToHost(void* to, const std::byte* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void CopyFromHost(std::byte* to, const void* from, size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void Move(std::byte* to, const std::byte* from, size_t bytes) override {
    std::memmove(to, from, bytes);
  }
  size_t scratch_bytes() const override {
    return linear_.scratch_bytes() + attention_->scratch_bytes();
  }

  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const TensorView> stacked) override {
    KVP_ASSIGN_OR_RETURN(auto weight, PackedWeight::Load(stacked, pool_, regions_));
    if (!weight->is_vector()) linear_.Reserve(weight->cols());
    return std::unique_ptr<Weight>(std::move(weight));
  }

  void Embed(const Weight& table, std::span<const int32_t> ids, Activations y) override;
  void RmsNorm(const RmsNormArgs& args) override;
  void Linear(const LinearArgs& args) override { linear_.Run(args); }
  void Rope(const RopeArgs& args) override;
  void TransformKv(const TransformKvArgs& args) override;
  void TransformOutput(const TransformOutputArgs& args) override;
  void StoreKv(const StoreKvArgs& args) override { cpu::StoreKv(isa_, pool_, args); }
  void Seal(const SealArgs& args) override { cpu::Seal(isa_, pool_, args); }
  void Requantize(const RequantizeArgs& args) override { cpu::Requantize(isa_, pool_, args); }
  void Attention(const AttentionArgs& args) override { attention_->Run(args); }
  void SiluMul(Activations x, Activations y) override;
  void GatherRows(Activations x, std::span<const int32_t> rows, Activations y) override;
  void Sample(const SampleArgs& args) override;
  absl::Status Synchronize() override { return absl::OkStatus(); }

 private:
  // Calls fn(row) for every row, on all threads when there is enough to do.
  template <typename Fn>
  void ForRows(int rows, int cols, Fn&& fn) {
    if (static_cast<int64_t>(rows) * cols < kMinParallelElements) {
      for (int row = 0; row < rows; ++row) fn(row);
      return;
    }
    const int rows_per_item = std::max(1, kMinParallelElements / 4 / std::max(cols, 1));
    pool_.For((rows + rows_per_item - 1) / rows_per_item, [&](int item, int) {
      const int end = std::min(rows, (item + 1) * rows_per_item);
      for (int row = item * rows_per_item; row < end; ++row) fn(row);
    });
  }

  // Calls fn(first row, rows) for blocks of the item's rows.
  template <typename Fn>
  void ForRowBlocks(const TransformItem& item, int cols, Fn&& fn) {
    constexpr int kRows = cpu::kTransformRows;
    ForRows((item.num_rows + kRows - 1) / kRows, kRows * cols, [&](int block) {
      fn(item.first_row + block * kRows, std::min(kRows, item.num_rows - block * kRows));
    });
  }

  const Isa isa_;
  const std::string name_;
  cpu::ThreadPool pool_;
  cpu::HostRegions regions_;  // of the weights
  const cpu::ElementwiseKernels& elementwise_;
  cpu::LinearKernel linear_;
  const std::unique_ptr<cpu::AttentionKernel> attention_;
};

// In place: what is sampled is undefined afterwards.
void CpuBackend::Sample(const SampleArgs& args) {
  ForRows(static_cast<int>(args.rows.size()), args.logits.cols, [&](int i) {
    const SampleRow& how = args.rows[i];
    KVP_CHECK(how.row >= 0 && how.row < args.logits.rows);
    args.tokens[how.row] =
        SampleToken({RowOf(args.logits, how.row), static_cast<size_t>(args.logits.cols)}, how);
  });
}

void CpuBackend::Embed(const Weight& table, std::span<const int32_t> ids, Activations y) {
  const auto& weight = static_cast<const PackedWeight&>(table);
  KVP_CHECK(!weight.is_vector() && y.cols == weight.cols() &&
            y.rows == static_cast<int>(ids.size()));
  ForRows(y.rows, y.cols, [&](int row) {
    const cpu::PanelView& panel = weight.PanelOf(ids[row]);
    cpu::DecodePanelRow(panel, ids[row] - panel.first_row, RowOf(y, row));
  });
}

void CpuBackend::RmsNorm(const RmsNormArgs& args) {
  const float* weight = VectorOf(args.weight);
  const int group = args.group_cols == 0 ? args.x.cols : args.group_cols;
  const int first = args.group_cols == 0 ? 0 : args.first_col;
  const int last = args.group_cols == 0 || args.last_col == 0 ? args.x.cols : args.last_col;
  KVP_CHECK(args.weight->cols() == group && (last - first) % group == 0 &&
            args.y.cols == args.x.cols && args.y.rows == args.x.rows);
  ForRows(args.x.rows, args.x.cols, [&](int row) {
    const float* x = RowOf(args.x, row);
    float* y = RowOf(args.y, row);
    for (int c = first; c < last; c += group) {
      elementwise_.rms_norm(x + c, weight, group, args.epsilon, y + c);
    }
    if (x == y) return;
    std::copy(x, x + first, y);
    std::copy(x + last, x + args.x.cols, y + last);
  });
}

void CpuBackend::Rope(const RopeArgs& args) {
  const int pairs = args.head_dim / 2;
  KVP_CHECK(pairs <= kMaxHeadPairs && static_cast<int>(args.inverse_frequency.size()) == pairs &&
            static_cast<int>(args.positions.size()) == args.x.rows &&
            args.first_col + args.heads * args.head_dim <= args.x.cols);
  ForRows(args.x.rows, args.heads * args.head_dim, [&](int row) {
    float cosine[kMaxHeadPairs], sine[kMaxHeadPairs];
    elementwise_.rope_angles(args.positions[row], args.inverse_frequency.data(), pairs, cosine,
                             sine);
    float* x = RowOf(args.x, row) + args.first_col;
    for (int h = 0; h < args.heads; ++h, x += args.head_dim) {
      elementwise_.rope(cosine, sine, pairs, x);
    }
  });
}

void CpuBackend::TransformKv(const TransformKvArgs& args) {
  KVP_CHECK(args.head_dim / 2 <= kMaxHeadPairs &&
            static_cast<int>(args.positions.size()) == args.qkv.rows);
  const int cols = (args.heads + 2 * args.kv_heads) * args.head_dim;
  for (const TransformItem& item : args.items) {
    ForRowBlocks(item, cols, [&](int first, int count) {
      std::array<cpu::TransformRow, cpu::kTransformRows> rows;
      for (int i = 0; i < count; ++i) {
        const int row = first + i;
        float* const bias_query =
            args.bias_query.data == nullptr ? nullptr : RowOf(args.bias_query, row);
        rows[i] = {.q = RowOf(args.qkv, row),
                   .k = RowOf(args.qkv, row) + args.k_first_col,
                   .v = RowOf(args.qkv, row) + args.v_first_col,
                   .bias_query = bias_query,
                   .position = args.positions[row]};
      }
      cpu::TransformKvRows(elementwise_, *item.transform, args, {rows.data(), size_t(count)});
    });
  }
}

void CpuBackend::TransformOutput(const TransformOutputArgs& args) {
  for (const TransformItem& item : args.items) {
    ForRowBlocks(item, args.heads * args.head_dim, [&](int first, int count) {
      std::array<float*, cpu::kTransformRows> rows;
      for (int i = 0; i < count; ++i) rows[i] = RowOf(args.out, first + i);
      cpu::TransformOutputRows(elementwise_, *item.transform, args, {rows.data(), size_t(count)});
    });
  }
}

void CpuBackend::SiluMul(Activations x, Activations y) {
  KVP_CHECK(x.cols == 2 * y.cols && x.rows == y.rows);
  ForRows(y.rows, y.cols, [&](int row) {
    const float* gate = RowOf(x, row);
    elementwise_.silu_mul(gate, gate + y.cols, y.cols, RowOf(y, row));
  });
}

void CpuBackend::GatherRows(Activations x, std::span<const int32_t> rows, Activations y) {
  KVP_CHECK(x.cols == y.cols && y.rows == static_cast<int>(rows.size()));
  for (int row = 0; row < y.rows; ++row) {
    KVP_CHECK(rows[row] >= 0 && rows[row] < x.rows);
    std::copy_n(RowOf(x, rows[row]), x.cols, RowOf(y, row));
  }
}

absl::StatusOr<Isa> ParseIsa(std::string_view name) {
  const char* environment = std::getenv("KVPARETO_CPU_ISA");
  if (name == "auto" && environment != nullptr) name = environment;
  const Isa best = cpu::DetectIsa();
  if (name == "auto") return best;
  const std::optional<Isa> wanted = cpu::FindIsa(name);
  if (!wanted) {
    return MakeError(absl::StatusCode::kInvalidArgument, "CPU_ISA_UNKNOWN",
                     absl::StrCat("instruction set '", std::string(name),
                                  "': expected auto, scalar, avx2, avx512, avx512-bf16 or amx"),
                     {{"isa", std::string(name)}});
  }
  if (*wanted > best) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "CPU_ISA_UNAVAILABLE",
                     absl::StrCat("this machine has no ", std::string(name)),
                     {{"isa", std::string(name)}});
  }
  return *wanted;
}

int AvailableCores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (sched_getaffinity(0, sizeof(cores), &cores) != 0) return 1;
  return std::max(1, CPU_COUNT(&cores));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuBackendOptions& options) {
  KVP_ASSIGN_OR_RETURN(const Isa isa, ParseIsa(options.isa));
  const int threads = options.threads > 0 ? options.threads : AvailableCores();
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(isa, threads));
}

}  // namespace kvpareto
