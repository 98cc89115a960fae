#include "engine/ops/backend.h"

#include <vector>

#include "engine/base/check.h"

namespace kvpareto {

void Backend::Project(const ProjectArgs& args) {
  if (args.norm.weight != nullptr) RmsNorm(args.norm);
  Linear(args.linear);
  if (args.product.data != nullptr) SiluMul(args.linear.y, args.product);
}

void Backend::RopeAndStoreKv(const RopeArgs& rope, const StoreKvArgs& store) {
  Rope(rope);
  StoreKv(store);
}

absl::Status Backend::ReserveScratch(const ScratchLimits&) { return absl::OkStatus(); }

void Backend::Sample(const SampleArgs& args) {
  KVP_CHECK(activation_bytes() == sizeof(float));
  std::vector<float> logits(args.logits.cols);
  const size_t row_bytes = logits.size() * sizeof(float);
  for (const SampleRow& how : args.rows) {
    KVP_CHECK(how.row >= 0 && how.row < args.logits.rows);
    CopyToHost(logits.data(), args.logits.data + how.row * row_bytes, row_bytes);
    args.tokens[how.row] = SampleToken(logits, how);
  }
}

void Backend::Requantize(const RequantizeArgs& args) {
  std::vector<std::byte> block;
  for (const RequantizeItem& item : args.items) {
    block.resize(item.from->bytes());
    CopyToHost(block.data(), item.data, block.size());
    if (!Synchronize().ok()) return;  // a lost device shows at the next step's end
    ForEachTile(item, block.data(), args.kv_heads, args.head_dim, RequantizeTileScalar);
    CopyFromHost(item.data, block.data(), item.to->bytes());
    if (!Synchronize().ok()) return;  // before the host's copy is written again
  }
}

}  // namespace kvpareto
