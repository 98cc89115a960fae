#include "engine/cpu/tile_decode_avx2.h"

namespace kvpareto::cpu {
namespace {

template <int kBits, kv::Role kRole, kv::Granularity kGranularity>
void DecodeCodes(const TileFormat& format, const DecodeTask& task, float* out) {
  TileParams params;
  LoadParams(format, task.encoded, params);
  constexpr int kGranules = Unit<kBits>::kGranules;
  const int columns = (kRole == kv::Role::kKey ? kv::kBlockTokens : task.head_dim) / 16;
  const int granules = kv::kBlockTokens * task.head_dim / kGranule;
  int row = 0, column = 0;
  for (int first = 0; first < granules; first += kGranules) {
    const std::byte* const unit = task.encoded + first * (kGranule * kBits / 8);
#pragma GCC unroll 4
    for (int place = 0; place < kGranules; ++place) {
#pragma GCC unroll 2
      for (int part = 0; part < 2; ++part) {
        const int lane = 16 * column + kLanes * part;
        const CodePairs codes = Unit<kBits>::Load(unit, place, part);
        const PairParams p = ParamsOf<kRole, kGranularity>(format, params, row, lane);
        const auto value = [](__m256i code, __m256 zero, __m256 scale) {
          return _mm256_mul_ps(_mm256_sub_ps(_mm256_cvtepi32_ps(code), zero), scale);
        };
        Pairs values = {value(codes.first, p.zero.first, p.scale.first),
                        value(codes.second, p.zero.second, p.scale.second)};
        if (format.extra != Extra::kNone) {
          values = ApplyExtra<kRole>(format.extra, params, row, lane, values);
        }
        StorePairs(values, first + place, part, out);
      }
      if (++column == columns) column = 0, ++row;
    }
  }
}

template <int kBits, kv::Role kRole>
void DispatchGranularity(const TileFormat& format, const DecodeTask& task, float* out) {
  using kv::Granularity;
  switch (format.granularity) {
    case Granularity::kPerToken:
      return DecodeCodes<kBits, kRole, Granularity::kPerToken>(format, task, out);
    case Granularity::kPerChannel:
      return DecodeCodes<kBits, kRole, Granularity::kPerChannel>(format, task, out);
    case Granularity::kNone:
    case Granularity::kPerBlock:
    case Granularity::kPerTensor:
    case Granularity::kDual:  // DescribeTile names the granularity of its scales
      return DecodeCodes<kBits, kRole, Granularity::kPerBlock>(format, task, out);
  }
}

template <kv::Role kRole>
void DispatchBits(const TileFormat& format, const DecodeTask& task, float* out) {
  switch (format.bits) {
    case 8:
      return DispatchGranularity<8, kRole>(format, task, out);
    case 6:
      return DispatchGranularity<6, kRole>(format, task, out);
    case 4:
      return DispatchGranularity<4, kRole>(format, task, out);
    case 3:
      return DispatchGranularity<3, kRole>(format, task, out);
    default:
      return DispatchGranularity<2, kRole>(format, task, out);
  }
}

// bf16 and fp8 elements.
void DecodeElements(const TileFormat& format, const DecodeTask& task, float* out) {
  const int granules = kv::kBlockTokens * task.head_dim / kGranule;
  for (int i = 0; i < granules; ++i) {
    for (int part = 0; part < 2; ++part) {
      if (format.bits == 16) {
        const std::byte* const from = task.encoded + 2 * kGranule * i + 32 * part;
        StorePairs(Bf16Pairs(LoadInts(from)), i, part, out);
      } else {
        const __m256i lanes =
            _mm256_cvtepu16_epi32(LoadHalf(task.encoded + kGranule * i + 16 * part));
        StorePairs({Fp8ToFloat(lanes), Fp8ToFloat(_mm256_srli_epi32(lanes, 8))}, i, part, out);
      }
    }
  }
}

// A codec without a vector version: the scalar definition, then into granules.
void DecodeAnyCodec(const DecodeTask& task, float* out) {
  alignas(32) float tile[kv::kBlockTokens * kMaxHeadDim];
  kv::DecodeTile(task.codec, task.role, task.head_dim, task.range, task.encoded, tile);
  const bool key = task.role == kv::Role::kKey;
  const int columns = (key ? kv::kBlockTokens : task.head_dim) / 16;
  for (int i = 0; i < kv::kBlockTokens * task.head_dim / kGranule; ++i, out += kGranule) {
    for (int j = 0; j < kGranule; ++j) {
      const int outer = 2 * (i / columns) + j / 16;  // the paired index
      const int inner = i % columns * 16 + j % 16;
      out[j] = key ? tile[inner * task.head_dim + outer] : tile[outer * task.head_dim + inner];
    }
  }
}

}  // namespace

void DecodeToFloatsAvx2(const DecodeTask& task, float* out) {
  const TileFormat format = DescribeTile(task.codec, task.role, task.head_dim, task.range);
  if (!format.fast) {
    DecodeAnyCodec(task, out);
  } else if (!format.codes) {
    DecodeElements(format, task, out);
  } else if (task.role == kv::Role::kKey) {
    DispatchBits<kv::Role::kKey>(format, task, out);
  } else {
    DispatchBits<kv::Role::kValue>(format, task, out);
  }
}

}  // namespace kvpareto::cpu
