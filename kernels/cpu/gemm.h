#pragma once
// Matrix products of the CPU backend: C[m][n] (+)= sum over k of A(m, k) B(k, n), every element ONE fma chain over
// ascending k. Blocking spills a chain to C and reloads it, which is exact, so no size below enters a result.
//
// Layers, from the inside out:
//   tile          MR rows x NV Vec columns in registers, one pass over k
//   gemm_block    rows [m0, m1) x panels [q0, q1) by one thread: packs A k-major into L2, walks panels of B
//   run_gemms     (linear.cc) cuts a list of products into blocks for the threads
//
// B comes as weight panels (PackedWeight, f32 or bf16) or as a plain matrix with B(k, n) at b[k * ldb + n], of which a
// block of 32 columns is packed on the fly.

#include "kernels/cpu/simd.h"
#include "kernels/linear.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int64_t kBlockK = 256;                     // of a block of B that all row tiles share (32 KiB)
constexpr int64_t kOuterK = 1024;                    // of packed A
constexpr int64_t kBlockTiles = 9 * 14 / kTileRows;  // row tiles of packed A: about 512 KiB of L2 at kOuterK
constexpr int64_t kDirectRows = 3;                   // up to here A is read in place: few rows cannot alias in L1
constexpr int64_t kAheadBytes = 3072;                // prefetch distance in a panel that one row tile streams through

FULMEN_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
FULMEN_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

struct TileArgs {
  const float* a;  // A(r, k): packed a[k * MR + r], else a[r * a_row + k]
  int64_t a_row;
  const void* b;  // Vec v of row k: b[(v / 2) * b_panel + k * 32 + (v % 2) * 16]
  int64_t b_panel;
  int64_t k;
  float* c;
  int64_t ldc;
  bool load;       // continue the chains in c, else start at 0
  const char* pf;  // prefetched while computing: pf + k * pf_step
  int64_t pf_step;
};
using TileFn = void (*)(const TileArgs&);

enum class APlace { kPacked, kDirect };
enum class Prefetch { kNextBlock, kOwnStream };  // one line per k into L2, or 2 lines of each panel per k into L1

template <int MR, int NV, class T, APlace place, Prefetch prefetch>
__attribute__((noinline)) void tile(const TileArgs& g) {
  Vec acc[MR][NV];
#pragma GCC unroll 14
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = g.load ? load(g.c + r * g.ldc + v * kLanes) : zero();
  const float* a = g.a;
  const T* b = (const T*)g.b;
  const int64_t a_row = g.a_row, b_panel = g.b_panel, pf_step = g.pf_step;
  const char* pf = g.pf;
  for (int64_t k = g.k; k > 0; --k) {
    if constexpr (prefetch == Prefetch::kOwnStream) {
#pragma GCC unroll 4
      for (int p = 0; p < NV; p += 2) {
        const char* at = (const char*)(b + p / 2 * b_panel) + kAheadBytes;
        _mm_prefetch(at, _MM_HINT_T0);
        if (sizeof(T) == 4) _mm_prefetch(at + 64, _MM_HINT_T0);
      }
    } else {
      _mm_prefetch(pf, _MM_HINT_T1);
      pf += pf_step;
    }
    Vec bv[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) bv[v] = load(b + v / 2 * b_panel + v % 2 * kLanes);
#pragma GCC unroll 14
    for (int r = 0; r < MR; ++r) {
      const Vec av = set1(place == APlace::kPacked ? a[r] : a[r * a_row]);
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) acc[r][v] = fma(av, bv[v], acc[r][v]);
    }
    a += place == APlace::kPacked ? MR : 1;
    b += kPanel;
  }
#pragma GCC unroll 14
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) store(g.c + r * g.ldc + v * kLanes, acc[r][v]);
}

// The tile of `rows` rows and NV columns; rows must fit the register file.
template <int NV, class T, APlace place, Prefetch prefetch, int MR = 1>
FULMEN_INLINE TileFn tile_fn(int64_t rows) {
  if constexpr (MR * NV > kTileRows * kTileVecs) {
    return nullptr;
  } else {
    if (rows == MR) return tile<MR, NV, T, place, prefetch>;
    return tile_fn<NV, T, place, prefetch, MR + 1>(rows);
  }
}

// Runs a tile kernel of NV columns over `cols` real ones: where the last panel is partial through a buffer, so that
// nothing beyond column N is read or written. A tile narrower than the panel is repeated.
template <int NV, class T, APlace place, Prefetch prefetch>
void run_tile(TileArgs g, int64_t rows, int64_t cols) {
  constexpr int kWidth = NV > 2 ? NV * kLanes : (int)kPanel;
  alignas(64) float buffer[kTileRows * kPanel * 4];
  float* c = g.c;
  const int64_t ldc = g.ldc;
  if (cols < kWidth) {
    g.c = buffer;
    g.ldc = kWidth;
    if (g.load)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t j = 0; j < cols; ++j) buffer[r * kWidth + j] = c[r * ldc + j];
  }
  const TileFn fn = tile_fn<NV, T, place, prefetch>(rows);
  for (int64_t j = 0; j < kWidth; j += NV * kLanes) {
    fn(g);
    g.b = (const T*)g.b + NV * kLanes;
    g.c += NV * kLanes;
  }
  if (cols < kWidth)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < cols; ++j) c[r * ldc + j] = buffer[r * kWidth + j];
}

struct Gemm {
  const float* a;  // A(m, k) = a[m * a_row + k * a_col]; one of the two strides is 1
  int64_t a_row, a_col;
  const void* b;
  DType b_dtype;
  int64_t ldb;  // 0: weight panels
  float* c;
  int64_t ldc;
  int64_t M, N, K;
  bool load;  // += instead of =
};

constexpr size_t kPackedABytes = (kBlockTiles * kTileRows * kOuterK + kLanes) * sizeof(float);
constexpr size_t kGemmScratch = (kPackedABytes + 63) / 64 * 64 + kBlockK * kPanel * sizeof(float);

// Rows [m0, m0 + M) of a product in balanced tiles of at most kTileRows.
struct RowTiles {
  int64_t m0, M, count;
  int64_t begin(int64_t t) const { return m0 + M * t / count; }
  int64_t rows(int64_t t) const { return begin(t + 1) - begin(t); }
};

// A rows of `tiles`, k in [k0, k0 + kn): tile after tile, each [k][rows].
void pack_a(const Gemm& g, const RowTiles& tiles, int64_t k0, int64_t kn, float* out) {
  for (int64_t t = 0; t < tiles.count; ++t) {
    const int64_t rows = tiles.rows(t);
    const float* a = g.a + tiles.begin(t) * g.a_row + k0 * g.a_col;
    if (g.a_col == 1) {
      for (int64_t k = 0; k < kn; k += kPackStep)
        pack_transposed(a + k, g.a_row, (int)rows, (int)min64(kPackStep, kn - k), out + k * rows, rows);
    } else {
      for (int64_t k = 0; k < kn; ++k) store(out + k * rows, load_n(a + k * g.a_col, (int)rows));
    }
    out += kn * rows;
  }
}

// Block of B: panel q, k in [k0, k0 + kn) as [k][32] f32. Weight panels in f32 are used in place.
const float* block_of_b(const Gemm& g, int64_t q, int64_t k0, int64_t kn, float* buffer) {
  const int64_t at = g.ldb ? k0 * g.ldb + q * kPanel : (q * g.K + k0) * kPanel;
  if (!g.ldb && g.b_dtype == DType::kF32) return (const float*)g.b + at;
  const int64_t step = g.ldb ? g.ldb : kPanel;
  const int64_t cols = g.ldb ? min64(kPanel, g.N - q * kPanel) : kPanel;
  for (int64_t k = 0; k < kn; ++k) {
    float* out = buffer + k * kPanel;
    const int64_t row = at + k * step;
    if (g.b_dtype == DType::kBf16) {
      const uint16_t* b = (const uint16_t*)g.b + row;
      if (cols == kPanel) {
        store(out, load(b));
        store(out + kLanes, load(b + kLanes));
      } else {
        for (int64_t j = 0; j < kPanel; ++j) out[j] = j < cols ? from_bf16(b[j]) : 0.0f;
      }
    } else {
      const float* b = (const float*)g.b + row;
      store(out, cols >= kLanes ? load(b) : load_n(b, (int)cols));
      store(out + kLanes,
            cols == kPanel ? load(b + kLanes) : load_n(b + kLanes, (int)(cols > kLanes ? cols - kLanes : 0)));
    }
  }
  return buffer;
}

// Few rows: one row tile streams through whole panels, `NV / 2` of them at once so that enough chains are in flight.
// Returns the first panel not done.
template <int NV, class T, APlace place>
int64_t stream_panels(const Gemm& g, const float* a, int64_t m0, int64_t rows, int64_t q0, int64_t q1) {
  constexpr int kPanels = NV > 2 ? NV / 2 : 1;
  int64_t q = q0;
  for (; q + kPanels <= q1; q += kPanels)
    run_tile<NV, T, place, Prefetch::kOwnStream>({a, g.a_row, (const T*)g.b + q * g.K * kPanel, g.K * kPanel, g.K,
                                                  g.c + m0 * g.ldc + q * kPanel, g.ldc, g.load, nullptr, 0},
                                                 rows, g.N - q * kPanel);
  return q;
}

template <class T>
void few_rows(const Gemm& g, int64_t m0, int64_t rows, int64_t q0, int64_t q1, float* scratch) {
  constexpr int kRegs = kTileRows * kTileVecs;
  if (rows <= kDirectRows) {
    const float* a = g.a + m0 * g.a_row;
    if (rows * 8 <= kRegs) q0 = stream_panels<8, T, APlace::kDirect>(g, a, m0, rows, q0, q1);
    if (rows * 4 <= kRegs) q0 = stream_panels<4, T, APlace::kDirect>(g, a, m0, rows, q0, q1);
    if (rows * 2 <= kRegs) q0 = stream_panels<2, T, APlace::kDirect>(g, a, m0, rows, q0, q1);
    return;
  }
  pack_a(g, {m0, rows, 1}, 0, g.K, scratch);
  if (rows * 4 <= kRegs) q0 = stream_panels<4, T, APlace::kPacked>(g, scratch, m0, rows, q0, q1);
  if (rows * 2 <= kRegs) q0 = stream_panels<2, T, APlace::kPacked>(g, scratch, m0, rows, q0, q1);
  stream_panels<kTileVecs, T, APlace::kPacked>(g, scratch, m0, rows, q0, q1);
}

// Prefetch for tile t while it works: its share of the block that comes next.
struct NextBlock {
  const char* base;
  int64_t row_bytes;  // from k to k + 1
  bool rows_of_matrix;
};
FULMEN_INLINE void set_prefetch(TileArgs& t, const NextBlock& next, int64_t tile_idx, int64_t tiles, int64_t kn) {
  if (next.rows_of_matrix) {  // two lines per k: the first tile takes one, the second the other
    t.pf = next.base + (tile_idx == 1 ? 64 : 0);
    t.pf_step = tile_idx < 2 ? next.row_bytes : 0;
  } else {
    t.pf_step = ceil_div(next.row_bytes, tiles);
    t.pf = next.base + tile_idx * kn * t.pf_step;
  }
}

void many_rows(const Gemm& g, const RowTiles& tiles, int64_t q0, int64_t q1, float* packed, float* buffer) {
  const int64_t elem = dtype_bytes(g.b_dtype);
  for (int64_t ko = 0; ko < g.K; ko += kOuterK) {
    const int64_t kend = min64(g.K, ko + kOuterK);
    pack_a(g, tiles, ko, kend - ko, packed);
    for (int64_t q = q0; q < q1; ++q)
      for (int64_t k = ko; k < kend; k += kBlockK) {
        const int64_t kn = min64(kBlockK, kend - k);
        const bool last = k + kn >= kend;
        const int64_t next_q = last ? q + 1 : q, next_k = last ? ko : k + kn;
        const int64_t next = g.ldb ? next_k * g.ldb + next_q * kPanel : (next_q * g.K + next_k) * kPanel;
        const NextBlock ahead{(const char*)g.b + next * elem, (g.ldb ? g.ldb : kPanel) * elem, g.ldb != 0};
        TileArgs t{nullptr, 0, block_of_b(g, q, k, kn, buffer), 0, kn, nullptr, g.ldc, g.load || k > 0, nullptr, 0};
        const float* a = packed;
        for (int64_t i = 0; i < tiles.count; ++i) {
          const int64_t rows = tiles.rows(i);
          t.a = a + (k - ko) * rows;
          t.c = g.c + tiles.begin(i) * g.ldc + q * kPanel;
          set_prefetch(t, ahead, i, tiles.count, kn);
          run_tile<kTileVecs, float, APlace::kPacked, Prefetch::kNextBlock>(t, rows, g.N - q * kPanel);
          a += (kend - ko) * rows;
        }
      }
  }
}

// Rows [m0, m1), at most kBlockTiles tiles of them, by panels [q0, q1). `scratch` has kGemmScratch bytes.
void gemm_block(const Gemm& g, int64_t m0, int64_t m1, int64_t q0, int64_t q1, float* scratch) {
  const int64_t rows = m1 - m0;
  // A panel that a single tile passes once needs no second level of blocking.
  if (!g.ldb && rows <= kTileRows && g.a_col == 1 && rows * g.K * sizeof(float) <= kPackedABytes) {
    if (g.b_dtype == DType::kF32)
      few_rows<float>(g, m0, rows, q0, q1, scratch);
    else
      few_rows<uint16_t>(g, m0, rows, q0, q1, scratch);
    return;
  }
  float* buffer = scratch + (kGemmScratch / sizeof(float) - kBlockK * kPanel);
  many_rows(g, {m0, rows, ceil_div(rows, kTileRows)}, q0, q1, scratch, buffer);
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
