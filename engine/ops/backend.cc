#include "engine/ops/backend.h"

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

}  // namespace kvpareto
