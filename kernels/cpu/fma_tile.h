#pragma once
// The one register tile of both attentions: C = [C +] A B, every element of C ONE fma chain in ascending k. Its value
// depends on its own row of A, its own column of B and the start value, never on the tile it was computed in, so row
// tiles, column strips and cuts of k (fp32 store and reload of C is exact) are free.

#include "kernels/cpu/simd.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMaxTileRows = 2;  // instrumented, the large tiles take the compiler many minutes
constexpr int tile_strip(int) { return 2; }
#elif defined(__AVX512F__)
constexpr int kMaxTileRows = 12;  // 12 x 2 accumulators of 32 registers
constexpr int tile_strip(int rows) { return rows >= 5 ? 2 : rows >= 2 ? 4 : 8; }
#else
constexpr int kMaxTileRows = 6;  // 6 x 1 accumulators of two registers each, of 16
constexpr int tile_strip(int rows) { return rows >= 3 ? 1 : rows == 2 ? 2 : 4; }
#endif

template <int R>
struct TileRows {
  static constexpr int value = R;
};

// f(TileRows<R>, first row) over [0, n) in the largest tiles that fit.
template <class F>
FULMEN_INLINE void for_row_tiles(int n, F f) {
  int i = 0;
  for (; i + kMaxTileRows <= n; i += kMaxTileRows) f(TileRows<kMaxTileRows>{}, i);
  if constexpr (kMaxTileRows > 8)
    if (i + 8 <= n) f(TileRows<8>{}, i), i += 8;
  if constexpr (kMaxTileRows > 4)
    if (i + 4 <= n) f(TileRows<4>{}, i), i += 4;
  if constexpr (kMaxTileRows > 2)
    if (i + 2 <= n) f(TileRows<2>{}, i), i += 2;
  if (i < n) f(TileRows<1>{}, i);
}

// f(TileRows<N>, first vector) over [0, n) in strips of Max vectors, then halves of it.
template <int Max, class F>
FULMEN_INLINE void for_strips(int n, F f, int v = 0) {
  for (; v + Max <= n; v += Max) f(TileRows<Max>{}, v);
  if constexpr (Max > 1) for_strips<Max / 2>(n, f, v);
}

struct RowOperand {  // element (r, k) at p[r * row + k * step], broadcast
  const float* p;
  ptrdiff_t row, step;
};
template <class T>
struct VecOperand {  // vector v of step k at p + k * step + v * vec
  const T* p;
  ptrdiff_t step, vec;
};
struct TileOut {  // vector v of row r at p + r * row + v * vec
  float* p;
  ptrdiff_t row, vec;
};

template <int R, int N>
struct Accumulators {
  Vec v[R][N];
};

template <int R, int N>
FULMEN_INLINE void clear(Accumulators<R, N>& acc) {
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 32
    for (int n = 0; n < N; ++n) acc.v[r][n] = zero();
}

// acc += one step k of the chain for rows [first, R). Lanes of acc stand in the order of load_mixed for T.
template <int R, int N, class T>
FULMEN_INLINE void fma_step(Accumulators<R, N>& acc, const float* a, ptrdiff_t a_row, const T* b, ptrdiff_t b_vec,
                            int first = 0) {
  Vec x[N];
#pragma GCC unroll 32
  for (int n = 0; n < N; ++n) x[n] = load_mixed(b + n * b_vec);
  // Widening takes issue slots that a core shares with its hyperthread; loads are left: half of the rows spend those.
  constexpr int kFolded = sizeof(T) == sizeof(uint16_t) && N == 2 ? R / 2 : 0;
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r) {
    if (r < first) continue;
    if (r < kFolded) {
#pragma GCC unroll 32
      for (int n = 0; n < N; ++n) acc.v[r][n] = fma_broadcast(a + r * a_row, x[n], acc.v[r][n]);
      continue;
    }
    const Vec y = set1(a[r * a_row]);
#pragma GCC unroll 32
    for (int n = 0; n < N; ++n) acc.v[r][n] = fma(y, x[n], acc.v[r][n]);
  }
}

template <class T, int R, int N>
FULMEN_INLINE void reorder(Accumulators<R, N>& acc) {
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 32
    for (int n = 0; n < N; ++n) acc.v[r][n] = reordered<T>(acc.v[r][n]);
}

// `ahead`: memory as large as B that is needed next, asked for line by line at the pace at which B is read, so that
// arithmetic hides its way from DRAM. An even pace matters: a core has few places for lines on their way, and when they
// are full, arithmetic waits as well. Asking beyond an end is harmless, a prefetch cannot fault.
template <int R, int N, class T>
FULMEN_INLINE void fma_chain(Accumulators<R, N>& acc, RowOperand a, VecOperand<T> b, int K,
                             const char* ahead = nullptr) {
  constexpr int kStepBytes = N * kLanes * (int)sizeof(T);
  if (ahead)
#pragma GCC unroll 1
    for (int k = 0; k < K; ++k, ahead += kStepBytes) {
#pragma GCC unroll 32
      for (int x = 0; x < kStepBytes; x += 64) _mm_prefetch(ahead + x, _MM_HINT_T1);
      fma_step(acc, a.p + k * a.step, a.row, b.p + k * b.step, b.vec);
    }
  else
    for (int k = 0; k < K; ++k) fma_step(acc, a.p + k * a.step, a.row, b.p + k * b.step, b.vec);
}

template <int R, int N>
FULMEN_INLINE void store_tile(const Accumulators<R, N>& acc, TileOut c) {
#pragma GCC unroll 32
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 32
    for (int n = 0; n < N; ++n) store(c.p + r * c.row + n * c.vec, acc.v[r][n]);
}

// C (R rows, `vecs` vectors) = A B, or C + A B with `Add`. With `Mixed`, lanes of C stand in the order of load_mixed
// for T. Inlines; callers put it in a noinline function per R.
template <int R, bool Add, int Strip = tile_strip(R), bool Mixed = false, class T>
FULMEN_INLINE void multiply_rows(RowOperand a, VecOperand<T> b, int K, TileOut c, int vecs,
                                 const char* ahead = nullptr) {
  for_strips<Strip>(
      vecs, [&](auto strip, int v) __attribute__((always_inline)) {
        constexpr int N = decltype(strip)::value;
        Accumulators<R, N> acc;
        clear(acc);
        const TileOut out{c.p + v * c.vec, c.row, c.vec};
        if constexpr (Add) {
#pragma GCC unroll 32
          for (int r = 0; r < R; ++r)
#pragma GCC unroll 32
            for (int n = 0; n < N; ++n) acc.v[r][n] = load(out.p + r * out.row + n * out.vec);
          if (!Mixed) reorder<T>(acc);
        }
        fma_chain(acc, a, VecOperand<T>{b.p + v * b.vec, b.step, b.vec}, K,
                  ahead ? ahead + (ptrdiff_t)v * K * kLanes * (ptrdiff_t)sizeof(T) : nullptr);
        if (!Mixed) reorder<T>(acc);
        store_tile(acc, out);
      });
}

// C (rows, vecs) = [C +] A B for any number of rows.
template <bool Add, class T>
__attribute__((noinline)) void multiply(RowOperand a, int rows, VecOperand<T> b, int K, TileOut c, int vecs) {
  for_row_tiles(
      rows, [&](auto tile, int r) __attribute__((always_inline)) {
        multiply_rows<decltype(tile)::value, Add>(RowOperand{a.p + r * a.row, a.row, a.step}, b, K,
                                                  TileOut{c.p + r * c.row, c.row, c.vec}, vecs);
      });
}

FULMEN_INLINE void put(float x, float* p) { *p = x; }
FULMEN_INLINE void put(float x, uint16_t* p) { *p = to_bf16(x); }

// Rows [at, at + n) of a block of 64 tokens, from rows `ld` floats apart. With T = bf16 the values are bf16 already, so
// nothing is lost. Panels of 16 tokens are (64/16, D, 16), rows (64, D). Lanes of tokens that have not come yet may be
// overwritten.
FULMEN_INLINE void put_panel(const float* from, ptrdiff_t ld, int rows, int D, float* panel) {
  for (int x = 0; x < D; x += kPackStep) pack_transposed(from + x, ld, rows, kPackStep, panel + x * kLanes, kLanes);
}
FULMEN_INLINE void put_panel(const float* from, ptrdiff_t ld, int rows, int D, uint16_t* panel) {
  alignas(64) float wide[kPackStep * kLanes] = {};
  for (int x = 0; x < D; x += kPackStep) {
    pack_transposed(from + x, ld, rows, kPackStep, wide, kLanes);
    for (int i = 0; i < kPackStep * kLanes; ++i) panel[x * kLanes + i] = to_bf16(wide[i]);
  }
}
template <class T>
__attribute__((noinline)) void write_panels(const float* from, ptrdiff_t ld, int at, int n, int D, T* panels) {
  for (int j = at; j < at + n;) {
    T* panel = panels + (size_t)(j / kLanes) * D * kLanes;
    const int lane = j % kLanes, rows = at + n - j < kLanes - lane ? at + n - j : kLanes - lane;
    if (lane == 0 && rows > 1)
      put_panel(from, ld, rows, D, panel);
    else
      for (int r = 0; r < rows; ++r)
        for (int x = 0; x < D; ++x) put(from[r * ld + x], panel + x * kLanes + lane + r);
    j += rows;
    from += rows * ld;
  }
}
template <class T>
__attribute__((noinline)) void write_rows(const float* from, ptrdiff_t ld, int at, int n, int D, T* rows) {
  for (int j = at; j < at + n; ++j, from += ld)
    for (int x = 0; x < D; ++x) put(from[x], rows + (size_t)j * D + x);
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
