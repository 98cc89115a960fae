// Decode rows on AMX tiles: the codes of a unit (16 outputs x 32 columns) are the B operand, the
// high and low bytes of eight rows the 16 rows of one A operand, so a product, a load of
// activations and a store of sums make a unit. The dot products are the exact integers of the
// vector kernel, so results are its bits.
//
// A tile load cannot take its data from a store that has not reached the cache: it waits until the
// store retires, in order, behind all that comes before it. So codes are unpacked some units before
// they are multiplied, and sums are scaled some units after: in a pipeline that runs on from panel
// to panel.
#include "engine/cpu/linear_decode.h"
#include "engine/cpu/panel_codes_avx512.h"
#include "engine/cpu/prefetch_run.h"
#include "engine/cpu/tile_session_amx.h"

namespace kvpareto::cpu {
namespace {

constexpr int kRows = kDecodeRowsPerPass;
constexpr int kMinTileRows = 6;  // fewer are as fast or faster on vectors
// How many units ahead of the one that is scaled the others are multiplied and unpacked.
constexpr int kMultiplyAhead = 2;
constexpr int kUnpackAhead = 5;
// Units whose codes and sums are held at a time.
constexpr unsigned kRing = 8;
static_assert(kMultiplyAhead < int{kRing} && kUnpackAhead <= int{kRing});

constexpr int kUnitBytes = kUnitCols * kPanelRows;
constexpr int kTileRows = 2 * kRows;  // of A and of the sums: high, low bytes of row after row

// Parts of a unit's columns that have a scale each.
template <PackedFormat F>
constexpr int kParts = F.scales == ScaleKind::kSuperSigned16 ? 2 : 1;

// Two sets of tiles take turns: sums in 0 or 1, activations in 2 or 3, codes in 4 or 5.
constexpr TileConfig MakeConfig(int parts) {
  TileConfig config;
  for (int set = 0; set < 2; ++set) {
    config.row_bytes[2 + set] = static_cast<uint16_t>(kUnitCols / parts);
    config.rows[4 + set] = static_cast<uint8_t>(kUnitCols / 4 / parts);
  }
  return config;
}
template <PackedFormat F>
constexpr TileConfig kConfig = MakeConfig(kParts<F>);

// sums [16, 16 outputs] = x [16, columns] codes [columns / 4, 16 outputs, 4].
template <int kSet>
[[gnu::always_inline]] inline void MultiplyTiles(const int8_t* x, const int8_t* codes,
                                                 int32_t* sums) {
  constexpr int kRowBytes = 64;
  if constexpr (kSet == 0) {
    _tile_loadd(2, x, kUnitCols);
    _tile_loadd(4, codes, kRowBytes);
    _tile_zero(0);
    _tile_dpbssd(0, 2, 4);
    _tile_stored(0, sums, kRowBytes);
  } else {
    _tile_loadd(3, x, kUnitCols);
    _tile_loadd(5, codes, kRowBytes);
    _tile_zero(1);
    _tile_dpbssd(1, 3, 5);
    _tile_stored(1, sums, kRowBytes);
  }
}

// Where a stage of the pipeline is in its run over units and panels.
struct Position {
  const PanelView* panel;
  int unit = 0;
  unsigned step = 0;  // units before this one, over all panels

  void Advance(int units) {
    ++step;
    if (++unit == units) {
      unit = 0;
      ++panel;
    }
  }
};

// What is on its way from one stage to the next.
template <int kPartsOfUnit>
struct Ring {
  // Signed codes as B, [8, 16 outputs, 4 columns].
  alignas(64) int8_t codes[kRing][kUnitBytes];
  // Of high and low bytes of each row.
  alignas(64) int32_t sums[kRing][kPartsOfUnit][kTileRows][kPanelRows];
};

template <PackedFormat F>
class PanelProducts {
 public:
  PanelProducts(std::span<const PanelView> panels, const QuantizedRows& rows, int first_row)
      : panels_(panels),
        rows_(rows),
        first_index_(rows.IndexOf(first_row, 0)),
        steps_(static_cast<unsigned>(panels.size()) * rows.units),
        unpack_{panels.data()},
        multiply_{panels.data()} {}

  void Run(int num_rows, float* out) {
    for (int i = 0; i < kUnpackAhead; ++i) Unpack();
    for (int i = 0; i < kMultiplyAhead; ++i) Multiply();
    unsigned step = 0;
    for (const PanelView& panel : panels_) {
      __m512 totals[kRows];
      for (__m512& total : totals) total = _mm512_setzero_ps();
      for (int unit = 0; unit < rows_.units; ++unit, ++step) {
        Unpack();
        Multiply();
        Add(panel, unit, ring_.sums[step % kRing], totals);
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        if (r < num_rows) _mm512_storeu_ps(out + r * kPanelRows, totals[r]);
      }
      out += num_rows * kPanelRows;
    }
  }

 private:
  static constexpr int kPartsOfUnit = kParts<F>;

  size_t IndexOf(int unit) const {
    return first_index_ + static_cast<size_t>(unit) * rows_.rows_per_pass;
  }

  [[gnu::always_inline]] void Unpack() {
    if (unpack_.step == steps_) return;
    if (rows_.prefetch) PrefetchLines<kShareLines<F>>(StreamAhead<F>(*unpack_.panel, unpack_.unit));
    const UnitCodes codes = LoadCodes<F>(*unpack_.panel, unpack_.unit);
    int8_t* to = ring_.codes[unpack_.step % kRing];
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(F.offset()));
    for (int v = 0; v < 8; ++v) {
      _mm512_store_si512(to + 64 * v,
                         F.offset() == 0 ? codes.v[v] : _mm512_sub_epi8(codes.v[v], offset));
    }
    unpack_.Advance(rows_.units);
  }

  [[gnu::always_inline]] void Multiply() {
    if (multiply_.step == steps_) return;
    const unsigned slot = multiply_.step % kRing;
    const int8_t* x = rows_.bytes + IndexOf(multiply_.unit) * 2 * kUnitCols;
    OrderMemory();
    if constexpr (kPartsOfUnit == 2) {
      MultiplyTiles<0>(x, ring_.codes[slot], ring_.sums[slot][0][0]);
      MultiplyTiles<1>(x + kUnitCols / 2, ring_.codes[slot] + kUnitBytes / 2,
                       ring_.sums[slot][1][0]);
    } else if (multiply_.step % 2 == 0) {
      MultiplyTiles<0>(x, ring_.codes[slot], ring_.sums[slot][0][0]);
    } else {
      MultiplyTiles<1>(x, ring_.codes[slot], ring_.sums[slot][0][0]);
    }
    OrderMemory();
    multiply_.Advance(rows_.units);
  }

  // totals += scale * step * (256 high + low), as on vectors, and the minimum's part.
  [[gnu::always_inline]] void Add(const PanelView& panel, int unit,
                                  const int32_t (&sums)[kPartsOfUnit][kTileRows][kPanelRows],
                                  __m512 (&totals)[kRows]) const {
    const UnitScales scales = LoadScales<F>(panel, unit);
    const float* step = rows_.step + IndexOf(unit);
    [[maybe_unused]] const float* step_sum = rows_.step_sum + IndexOf(unit);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int part = 0; part < kPartsOfUnit; ++part) {
        const __m512i high = _mm512_slli_epi32(_mm512_load_si512(sums[part][2 * r]), 8);
        const __m512i dot = _mm512_add_epi32(high, _mm512_load_si512(sums[part][2 * r + 1]));
        const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(dot), scales.scale[part]);
        totals[r] = _mm512_fmadd_ps(scaled, _mm512_set1_ps(step[r]), totals[r]);
      }
      if constexpr (F.has_minimum()) {
        totals[r] = _mm512_fmadd_ps(scales.minimum, _mm512_set1_ps(step_sum[r]), totals[r]);
      }
    }
  }

  const std::span<const PanelView> panels_;
  const QuantizedRows& rows_;
  const size_t first_index_;
  const unsigned steps_;  // units of all panels
  Position unpack_, multiply_;
  Ring<kPartsOfUnit> ring_;
};

}  // namespace

// Rows of the block behind the wanted ones are multiplied with them: their memory is there, what it
// holds does not matter.
void DecodeRowsAmx(std::span<const PanelView> panels, const QuantizedRows& rows, int first_row,
                   int num_rows, float* out) {
  const PackedFormat format = panels[0].layout->format;
  if (num_rows < kMinTileRows || format.is_bf16()) {
    return DecodeRowsAvx512(panels, rows, first_row, num_rows, out);
  }
  VisitFormat(format, [&]<PackedFormat F>() {
    if constexpr (!F.is_bf16()) {
      const TileSession session(kConfig<F>);
      PanelProducts<F>(panels, rows, first_row).Run(num_rows, out);
    }
  });
}

}  // namespace kvpareto::cpu
