// A backend that measures another one: time, bytes and arithmetic of every operation.
#pragma once

#include <map>
#include <string>

#include "tests/support/forwarding_backend.h"

namespace kvpareto {

// What the calls of one operation did. `bytes` are the fewest that it must read: weights, cache
// tiles; `flops` those of its products, masked ones left out.
struct OpTotals {
  int calls = 0;
  double seconds = 0.0;
  double bytes = 0.0;
  double flops = 0.0;
};

// Operations run to their end before the clock is read, which on a device that queues them costs
// overlap: meant for the CPU. Linear layers are told apart by their shape.
class TimedBackend : public support::ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  const std::map<std::string, OpTotals>& totals() const { return totals_; }
  void Reset() { totals_.clear(); }

  void CopyToHost(void* to, const std::byte* from, size_t bytes) override;
  void Embed(const Weight& table, std::span<const int32_t> ids, Activations y) override;
  void RmsNorm(const RmsNormArgs& args) override;
  void Linear(const LinearArgs& args) override;
  void Rope(const RopeArgs& args) override;
  void TransformKv(const TransformKvArgs& args) override;
  void TransformOutput(const TransformOutputArgs& args) override;
  void StoreKv(const StoreKvArgs& args) override;
  void Seal(const SealArgs& args) override;
  void Attention(const AttentionArgs& args) override;
  void SiluMul(Activations x, Activations y) override;
  void GatherRows(Activations x, std::span<const int32_t> rows, Activations y) override;

 private:
  template <typename Fn>
  OpTotals& Time(const std::string& op, Fn&& fn);

  std::map<std::string, OpTotals> totals_;
};

}  // namespace kvpareto
