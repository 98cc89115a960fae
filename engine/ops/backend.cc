#include "engine/ops/backend.h"

#include <vector>

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
