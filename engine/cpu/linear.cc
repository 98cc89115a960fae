#include "engine/cpu/linear.h"

#include "engine/base/check.h"

namespace kvpareto::cpu {
namespace {

std::unique_ptr<RowKernel> CreateDecode(Isa isa, ThreadPool* pool) {
  return isa == Isa::kScalar ? CreateScalarRows(pool) : CreateDecodeRows(isa, pool);
}

std::unique_ptr<RowKernel> CreatePrefill(Isa isa, ThreadPool* pool) {
  return PrefillsInBf16(isa)   ? CreateTileRows(isa, pool)
         : isa == Isa::kScalar ? CreateScalarRows(pool)
                               : CreateFloatRows(isa, pool);
}

}  // namespace

LinearKernel::LinearKernel(Isa isa, ThreadPool* pool)
    : decode_(CreateDecode(isa, pool)), prefill_(CreatePrefill(isa, pool)) {}

void LinearKernel::Reserve(int cols) {
  decode_->Reserve(cols);
  prefill_->Reserve(cols);
}

void LinearKernel::Run(const LinearArgs& args) {
  const auto& weight = static_cast<const PackedWeight&>(*args.weight);
  const auto* bias = static_cast<const PackedWeight*>(args.bias);
  KVP_CHECK(!weight.is_vector() && args.x.cols == weight.cols() && args.y.cols == weight.rows())
      << "x " << args.x.cols << ", weight " << weight.rows() << " x " << weight.cols() << ", y "
      << args.y.cols;
  KVP_CHECK(args.x.rows == args.y.rows &&
            args.split.decode_rows + args.split.prefill_rows == args.x.rows);
  KVP_CHECK(bias == nullptr || (bias->is_vector() && bias->cols() == weight.rows()));
  LinearRows rows{.x = reinterpret_cast<const float*>(args.x.data),
                  .y = reinterpret_cast<float*>(args.y.data),
                  .rows = args.split.decode_rows,
                  .weight = &weight,
                  .bias = bias == nullptr ? nullptr : bias->vector(),
                  .accumulate = args.accumulate};
  if (rows.rows > 0) decode_->Run(rows);
  rows.x += static_cast<size_t>(rows.rows) * args.x.cols;
  rows.y += static_cast<size_t>(rows.rows) * args.y.cols;
  rows.rows = args.split.prefill_rows;
  if (rows.rows > 0) prefill_->Run(rows);
}

}  // namespace kvpareto::cpu
