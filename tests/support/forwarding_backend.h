// A backend that does what another one does: tests change a part of it. Operations that are made of
// others (Project, RopeAndStoreKv, ...) run as those.
#pragma once

#include <memory>
#include <utility>

#include "engine/ops/backend.h"

namespace kvpareto::support {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  std::string_view name() const override { return backend_->name(); }
  size_t activation_bytes() const override { return backend_->activation_bytes(); }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(size_t bytes) override {
    return backend_->Allocate(bytes);
  }
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> AllocateOnHost(size_t bytes) override {
    return backend_->AllocateOnHost(bytes);
  }
  void CopyToHost(void* to, const std::byte* from, size_t bytes) override {
    backend_->CopyToHost(to, from, bytes);
  }
  void CopyFromHost(std::byte* to, const void* from, size_t bytes) override {
    backend_->CopyFromHost(to, from, bytes);
  }
  void Move(std::byte* to, const std::byte* from, size_t bytes) override {
    backend_->Move(to, from, bytes);
  }
  size_t scratch_bytes() const override { return backend_->scratch_bytes(); }
  absl::Status ReserveScratch(const ScratchLimits& limits) override {
    return backend_->ReserveScratch(limits);
  }
  std::optional<DeviceMemoryInfo> DeviceMemory() const override { return backend_->DeviceMemory(); }
  absl::StatusOr<std::unique_ptr<Weight>> LoadWeight(std::span<const TensorView> stacked) override {
    return backend_->LoadWeight(stacked);
  }
  void Embed(const Weight& table, std::span<const int32_t> ids, Activations y) override {
    backend_->Embed(table, ids, y);
  }
  void RmsNorm(const RmsNormArgs& args) override { backend_->RmsNorm(args); }
  void Linear(const LinearArgs& args) override { backend_->Linear(args); }
  void Rope(const RopeArgs& args) override { backend_->Rope(args); }
  void TransformKv(const TransformKvArgs& args) override { backend_->TransformKv(args); }
  void TransformOutput(const TransformOutputArgs& args) override {
    backend_->TransformOutput(args);
  }
  void StoreKv(const StoreKvArgs& args) override { backend_->StoreKv(args); }
  void Seal(const SealArgs& args) override { backend_->Seal(args); }
  void Attention(const AttentionArgs& args) override { backend_->Attention(args); }
  void SiluMul(Activations x, Activations y) override { backend_->SiluMul(x, y); }
  void GatherRows(Activations x, std::span<const int32_t> rows, Activations y) override {
    backend_->GatherRows(x, rows, y);
  }
  void Sample(const SampleArgs& args) override { backend_->Sample(args); }
  absl::Status Synchronize() override { return backend_->Synchronize(); }

 protected:
  Backend& backend() { return *backend_; }

 private:
  const std::unique_ptr<Backend> backend_;
};

}  // namespace kvpareto::support
