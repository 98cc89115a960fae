#include "tests/bench/timed_backend.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"

namespace kvpareto {
namespace {

double TileBytes(const KvSpan& span, int kv_heads) {
  const kv::LayerLayout& layout = *span.layout;
  const double tile = static_cast<double>(layout.k_tile_bytes + layout.v_tile_bytes) * kv_heads;
  return tile * span.num_tokens / layout.tile_tokens;
}

// Keys that the sequence's queries read in all.
double VisibleKeys(const AttentionSequence& sequence, int sliding_window) {
  double keys = 0.0;
  for (int i = 0; i < sequence.num_rows; ++i) {
    const int before = sequence.first_position + i + 1;
    keys += sliding_window > 0 ? std::min(before, sliding_window) : before;
  }
  return keys;
}

}  // namespace

template <typename Fn>
OpTotals& TimedBackend::Time(const std::string& op, Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  KVP_CHECK(backend().Synchronize().ok());
  OpTotals& totals = totals_[op];
  totals.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ++totals.calls;
  return totals;
}

void TimedBackend::CopyToHost(void* to, const std::byte* from, size_t bytes) {
  Time("copy to host", [&] { backend().CopyToHost(to, from, bytes); });
}

void TimedBackend::Embed(const Weight& table, std::span<const int32_t> ids, Activations y) {
  Time("embed", [&] { backend().Embed(table, ids, y); });
}

void TimedBackend::RmsNorm(const RmsNormArgs& args) {
  Time("norm", [&] { backend().RmsNorm(args); });
}

void TimedBackend::Linear(const LinearArgs& args) {
  const std::string op = absl::StrCat("linear ", args.weight->cols(), " -> ", args.weight->rows());
  OpTotals& totals = Time(op, [&] { backend().Linear(args); });
  totals.bytes += static_cast<double>(args.weight->resident_bytes());
  totals.flops += 2.0 * args.x.rows * args.weight->rows() * args.weight->cols();
}

void TimedBackend::Rope(const RopeArgs& args) {
  Time("rope", [&] { backend().Rope(args); });
}

void TimedBackend::TransformKv(const TransformKvArgs& args) {
  Time("transform", [&] { backend().TransformKv(args); });
}

void TimedBackend::TransformOutput(const TransformOutputArgs& args) {
  Time("transform", [&] { backend().TransformOutput(args); });
}

void TimedBackend::StoreKv(const StoreKvArgs& args) {
  Time("store", [&] { backend().StoreKv(args); });
}

void TimedBackend::Seal(const SealArgs& args) {
  OpTotals& totals = Time("seal", [&] { backend().Seal(args); });
  for (const SealItem& item : args.items) {
    const kv::LayerLayout& source = *item.source_layout;
    totals.bytes += static_cast<double>(source.k_tile_bytes + source.v_tile_bytes) * args.kv_heads;
  }
}

void TimedBackend::Attention(const AttentionArgs& args) {
  OpTotals& totals = Time("attention", [&] { backend().Attention(args); });
  for (const AttentionSequence& sequence : args.sequences) {
    for (const KvSpan& span : sequence.spans) totals.bytes += TileBytes(span, args.kv_heads);
    totals.flops += 4.0 * args.heads * args.head_dim * VisibleKeys(sequence, args.sliding_window);
  }
}

void TimedBackend::SiluMul(Activations x, Activations y) {
  Time("silu", [&] { backend().SiluMul(x, y); });
}

void TimedBackend::GatherRows(Activations x, std::span<const int32_t> rows, Activations y) {
  Time("gather", [&] { backend().GatherRows(x, rows, y); });
}

}  // namespace kvpareto
