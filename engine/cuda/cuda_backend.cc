#include "engine/cuda/cuda_backend.h"

#include <algorithm>
#include <vector>

#include "engine/base/check.h"
#include "engine/cuda/attention.h"
#include "engine/cuda/device.h"
#include "engine/cuda/device_weight.h"
#include "engine/cuda/elementwise.h"
#include "engine/cuda/linear.h"
#include "engine/cuda/requantizer.h"
#include "engine/cuda/row_ops.h"
#include "engine/cuda/sample.h"
#include "engine/cuda/sealer.h"
#include "engine/cuda/store_kv.h"
#include "engine/cuda/transform.h"
#include "engine/cuda/unpack_matrix.h"

namespace kvpareto {
namespace {

using cuda::Device;
using cuda::DeviceWeight;

float* Floats(const Activations& a) { return reinterpret_cast<float*>(a.data); }

// Whether item i is the one token of row i.
bool OneTokenPerRow(const StoreKvArgs& args) {
  if (static_cast<int>(args.items.size()) != args.qkv.rows) return false;
  for (int i = 0; i < args.qkv.rows; ++i) {
    if (args.items[i].first_row != i || args.items[i].destination.num_tokens != 1) return false;
  }
  return true;
}

class CudaBackend : public Backend {
 public:
  CudaBackend(std::unique_ptr<Device> device, std::unique_ptr<cuda::Linear> linear,
              const CudaOptions& options)
      : device_(std::move(device)),
        linear_(std::move(linear)),
        attention_(device_.get(), options.wgmma),
        sealer_(device_.get()),
        requantizer_(device_.get()) {}

  std::string_view name() const override { return "cuda"; }
  size_t activation_bytes() const override { return sizeof(float); }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override {
    KVP_ASSIGN_OR_RETURN(auto memory, cuda::DeviceMemory::Create(bytes));
    return std::unique_ptr<DeviceBuffer>(std::move(memory));
  }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> AllocateOnHost(size_t bytes) override {
    KVP_ASSIGN_OR_RETURN(auto memory, cuda::PinnedMemory::Create(bytes));
    return std::unique_ptr<DeviceBuffer>(std::move(memory));
  }
  void CopyToHost(void* to, const std::byte* from, size_t bytes) override {
    device_->CopyToHost(to, from, bytes);
  }
  void CopyFromHost(std::byte* to, const void* from, size_t bytes) override {
    device_->CopyFromHost(to, from, bytes);
  }
  void Move(std::byte* to, const std::byte* from, size_t bytes) override {
    device_->Move(to, from, bytes);
  }
  size_t scratch_bytes() const override { return device_->scratch_bytes(); }
  absl::Status ReserveScratch(const ScratchLimits& limits) override {
    (void)(linear_->ReserveScratch(limits) && attention_.ReserveScratch(limits) &&
           requantizer_.ReserveScratch(limits.kv_heads, limits.head_dim));
    return device_->Synchronize();
  }
  std::optional<DeviceMemoryInfo> DeviceMemory() const override { return device_->Memory(); }
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const TensorView> stacked) override {
    KVP_ASSIGN_OR_RETURN(auto weight, DeviceWeight::Load(stacked, *device_, weights_));
    return std::unique_ptr<Weight>(std::move(weight));
  }

  void Embed(const Weight& table, std::span<const int32_t> ids, Activations y) override;
  void RmsNorm(const RmsNormArgs& args) override { cuda::RunRmsNorm(args, queue()); }
  void Linear(const LinearArgs& args) override { linear_->Run({.linear = args}); }
  void Project(const ProjectArgs& args) override { linear_->Run(args); }
  void Rope(const RopeArgs& args) override;
  void TransformKv(const TransformKvArgs& args) override;
  void TransformOutput(const TransformOutputArgs& args) override;
  void StoreKv(const StoreKvArgs& args) override;
  void RopeAndStoreKv(const RopeArgs& rope, const StoreKvArgs& store) override;
  void Seal(const SealArgs& args) override {
    device_->BeginOperation();
    sealer_.Run(args);
  }
  void Requantize(const RequantizeArgs& args) override {
    const bool on_device = std::ranges::all_of(args.items, cuda::Requantizer::Takes);
    on_device ? requantizer_.Run(args) : Backend::Requantize(args);
  }
  void Attention(const AttentionArgs& args) override {
    device_->BeginOperation();
    attention_.Run(args);
  }
  void SiluMul(Activations x, Activations y) override { cuda::RunSiluMul(x, y, queue()); }
  void GatherRows(Activations x, std::span<const int32_t> rows, Activations y) override;
  void Sample(const SampleArgs& args) override { cuda::RunSample(args, *device_); }
  absl::Status Synchronize() override { return device_->Synchronize(); }

 private:
  cuda::LaunchQueue& queue() { return device_->queue(); }
  cuda::RopeParams ParamsOf(const RopeArgs& args);
  cuda::StoreParams ParamsOf(const StoreKvArgs& args);

  const std::unique_ptr<Device> device_;
  cuda::DevicePool weights_;
  const std::unique_ptr<cuda::Linear> linear_;
  cuda::Attention attention_;
  cuda::Sealer sealer_;
  cuda::Requantizer requantizer_;
};

void CudaBackend::Embed(const Weight& table, std::span<const int32_t> ids, Activations y) {
  device_->BeginOperation();
  const auto& weight = static_cast<const DeviceWeight&>(table);
  KVP_CHECK(!weight.is_vector() && y.cols == weight.cols() &&
            y.rows == static_cast<int>(ids.size()));
  const int32_t* device_ids = device_->Upload(ids);
  int first_row = 0;
  for (const cuda::PackedMatrix& matrix : weight.matrices()) {
    cuda::LaunchEmbed(matrix, device_ids, y.rows, first_row, Floats(y), queue());
    first_row += matrix.rows;
  }
}

cuda::RopeParams CudaBackend::ParamsOf(const RopeArgs& args) {
  KVP_CHECK(static_cast<int>(args.inverse_frequency.size()) == args.head_dim / 2 &&
            static_cast<int>(args.positions.size()) == args.x.rows &&
            args.first_col + args.heads * args.head_dim <= args.x.cols);
  return {.x = Floats(args.x),
          .rows = args.x.rows,
          .stride = args.x.cols,
          .first_col = args.first_col,
          .heads = args.heads,
          .head_dim = args.head_dim,
          .positions = device_->Upload(args.positions),
          .frequency = device_->Upload(args.inverse_frequency)};
}

void CudaBackend::Rope(const RopeArgs& args) {
  device_->BeginOperation();
  cuda::LaunchRope(ParamsOf(args), queue());
}

void CudaBackend::TransformKv(const TransformKvArgs& args) {
  device_->BeginOperation();
  if (args.items.empty()) return;
  const int32_t* positions = device_->Upload(args.positions);
  const float* frequency = device_->Upload(args.inverse_frequency);
  for (const TransformItem& item : args.items) {
    const LayerTransform& t = *item.transform;
    cuda::TransformParams params{
        .transform = {t.key_bias, t.key_center, t.key_matrix, t.query_matrix, t.value_center,
                      t.value_matrix, t.output_matrix},
        .qkv = Floats(args.qkv) + size_t(item.first_row) * args.qkv.cols,
        .rows = item.num_rows,
        .stride = args.qkv.cols,
        .bias_stride = args.bias_query.cols,
        .k_first_col = args.k_first_col,
        .v_first_col = args.v_first_col,
        .heads = args.heads,
        .kv_heads = args.kv_heads,
        .head_dim = args.head_dim,
        .positions = positions + item.first_row,
        .frequency = frequency};
    if (args.bias_query.data != nullptr) {
      params.bias_q = Floats(args.bias_query) + size_t(item.first_row) * args.bias_query.cols;
    }
    cuda::LaunchTransformKv(params, queue());
  }
}

void CudaBackend::TransformOutput(const TransformOutputArgs& args) {
  for (const TransformItem& item : args.items) {
    const LayerTransform& t = *item.transform;
    if (t.output_matrix == nullptr && t.value_center == nullptr) continue;
    cuda::LaunchTransformOutput(
        {.transform = {.value_center = t.value_center, .output_matrix = t.output_matrix},
         .qkv = Floats(args.out) + size_t(item.first_row) * args.out.cols,
         .rows = item.num_rows,
         .stride = args.out.cols,
         .heads = args.heads,
         .kv_heads = args.kv_heads,
         .head_dim = args.head_dim},
        queue());
  }
}

cuda::StoreParams CudaBackend::ParamsOf(const StoreKvArgs& args) {
  std::vector<cuda::StoreItem> items;
  cuda::StoreParams params{.num_items = static_cast<int>(args.items.size()),
                           .qkv = Floats(args.qkv),
                           .stride = args.qkv.cols,
                           .k_first_col = args.k_first_col,
                           .v_first_col = args.v_first_col,
                           .kv_heads = args.kv_heads,
                           .head_dim = args.head_dim};
  for (const StoreKvItem& item : args.items) {
    const KvSpan& to = item.destination;
    KVP_CHECK(kv::GetCodecInfo(to.layout->k_codec).can_be_open &&
              kv::GetCodecInfo(to.layout->v_codec).can_be_open &&
              to.first_slot + to.num_tokens <= to.layout->tile_tokens);
    items.push_back({.data = to.data,
                     .layout = *to.layout,
                     .first_slot = to.first_slot,
                     .num_tokens = to.num_tokens,
                     .first_row = item.first_row});
    params.max_tokens = std::max(params.max_tokens, to.num_tokens);
  }
  params.items = device_->Upload(std::span<const cuda::StoreItem>(items));
  return params;
}

void CudaBackend::StoreKv(const StoreKvArgs& args) {
  device_->BeginOperation();
  const cuda::StoreParams params = ParamsOf(args);
  if (params.max_tokens > 0) cuda::LaunchStoreKv(params, queue());
}

void CudaBackend::RopeAndStoreKv(const RopeArgs& rope, const StoreKvArgs& store) {
  if (!OneTokenPerRow(store)) return Backend::RopeAndStoreKv(rope, store);
  device_->BeginOperation();
  cuda::LaunchRopeStore(ParamsOf(rope), ParamsOf(store), queue());
}

void CudaBackend::GatherRows(Activations x, std::span<const int32_t> rows, Activations y) {
  device_->BeginOperation();
  KVP_CHECK(x.cols == y.cols && y.rows == static_cast<int>(rows.size()));
  for (const int32_t row : rows) KVP_CHECK(row >= 0 && row < x.rows);
  cuda::LaunchGatherRows(Floats(x), device_->Upload(rows), Floats(y), y.rows, y.cols, queue());
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaOptions& options) {
  KVP_ASSIGN_OR_RETURN(auto device, Device::Create());
  KVP_ASSIGN_OR_RETURN(auto linear, cuda::Linear::Create(device.get()));
  return std::unique_ptr<Backend>(
      std::make_unique<CudaBackend>(std::move(device), std::move(linear), options));
}

}  // namespace kvpareto
