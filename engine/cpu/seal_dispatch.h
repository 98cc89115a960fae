// From a tile's format to the encoder of its bits, role and granularity. For the per-ISA files,
// which share no code: in an anonymous namespace (see tile_decode_avx512.h).
#pragma once

#include <cstring>

#include "engine/cpu/store_task.h"
#include "engine/cpu/tile_decode.h"

namespace kvpareto::cpu {
namespace {

template <template <int, kv::Role, kv::Granularity> typename Encoder, int kBits, kv::Role kRole>
void DispatchGranularity(const SealTask& task, const TileFormat& format) {
  switch (format.granularity) {
    case kv::Granularity::kPerToken:
      return Encoder<kBits, kRole, kv::Granularity::kPerToken>::Run(task, format);
    case kv::Granularity::kPerChannel:
      return Encoder<kBits, kRole, kv::Granularity::kPerChannel>::Run(task, format);
    case kv::Granularity::kNone:
    case kv::Granularity::kPerBlock:
    case kv::Granularity::kPerTensor:
    case kv::Granularity::kDual:
      return Encoder<kBits, kRole, kv::Granularity::kPerBlock>::Run(task, format);
  }
}

template <template <int, kv::Role, kv::Granularity> typename Encoder, int kBits>
bool DispatchRole(const SealTask& task, const TileFormat& format) {
  if (task.role == kv::Role::kKey) {
    DispatchGranularity<Encoder, kBits, kv::Role::kKey>(task, format);
  } else {
    DispatchGranularity<Encoder, kBits, kv::Role::kValue>(task, format);
  }
  return true;
}

// Encoder<kBits, kRole, kGranularity>::Run(task, format) encodes a bf16 tile into zeroed bytes; per
// block also stands for per tensor. `extra`: what it can do besides codes, scales and zero points.
// Returns false, and does nothing, for other codecs and sources.
template <template <int, kv::Role, kv::Granularity> typename Encoder>
bool DispatchSeal(const SealTask& task, Extra extra) {
  const TileFormat format = DescribeTile(task.codec, task.role, task.head_dim, task.range);
  if (task.source_codec != kv::CodecId::kBf16 || !format.codes ||
      (format.extra != Extra::kNone && format.extra != extra)) {
    return false;
  }
  std::memset(task.encoded, 0, kv::TileBytes(task.codec, task.role, task.head_dim));
  switch (format.bits) {
    case 8:
      return DispatchRole<Encoder, 8>(task, format);
    case 6:
      return DispatchRole<Encoder, 6>(task, format);
    case 4:
      return DispatchRole<Encoder, 4>(task, format);
    case 3:
      return DispatchRole<Encoder, 3>(task, format);
    default:
      return DispatchRole<Encoder, 2>(task, format);
  }
}

}  // namespace
}  // namespace kvpareto::cpu
