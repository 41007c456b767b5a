#pragma once
// The register tiles of gemm.h: MR rows x NV vectors of C, one pass over k.

#include <utility>

#include "kernels/cpu/simd.h"
#include "kernels/linear.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

struct TileArgs {
  const float* a;  // A(r, k): packed a[k * MR + r], else a[r * a_row + k]
  int64_t a_row;
  const void* b;  // Vec v of row k, with i = v + First: b[(i / 2) * b_panel + k * b_step + (i % 2) * 16]
  int64_t b_panel, b_step;
  int64_t k;
  float* c;
  int64_t ldc;
  bool load;            // continue the chains in c, else start at 0
  const float* c_next;  // c of the tile that comes next
  const char* pf;   // kNextBlock: prefetches pf + k * pf_step while computing; kOwnStream: pf_step bytes ahead of b,
  int64_t pf_step;  // in the last `tail` steps, where that is beyond the end, pf_tail: the start of the next panels
  int64_t tail = 0, pf_tail = 0;
};
using TileFn = void (*)(const TileArgs&);

enum class APlace { kPacked, kDirect };
// None, one line per k into L2, `pf_step` ahead in every panel into L1, or from L2 into L1.
enum class Prefetch { kNone, kNextBlock, kOwnStream, kIntoL1 };
constexpr int kStepsIntoL1 = 8;

// First: 1 to begin in the middle of a panel.
template <int MR, int NV, class T, APlace place, Prefetch prefetch, int First = 0>
__attribute__((noinline)) void tile(const TileArgs& g) {
  Vec acc[MR][NV];
#pragma GCC unroll 14
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[r][v] = g.load ? reordered<T>(load(g.c + r * g.ldc + v * kLanes)) : zero();
#pragma GCC unroll 14
  for (int r = 0; r < MR && prefetch != Prefetch::kIntoL1; ++r)
    for (int v = 0; v < NV; ++v) _mm_prefetch((const char*)(g.c_next + r * g.ldc + v * kLanes), _MM_HINT_T0);
  const float* a = g.a;
  const T* b = (const T*)g.b;
  const int64_t a_row = g.a_row, b_panel = g.b_panel, b_step = g.b_step;
  int64_t pf_step = g.pf_step;
  const char* pf = g.pf;
  int64_t left = g.k, steps = prefetch == Prefetch::kOwnStream && left > g.tail ? left - g.tail : left;
  for (; steps > 0; steps = left, pf_step = g.pf_tail) {
    left -= steps;
    for (; steps > 0; --steps) {
      if constexpr (prefetch == Prefetch::kOwnStream) {
#pragma GCC unroll 4
        for (int p = 0; p < NV; p += 2) {
          const char* at = (const char*)(b + p / 2 * b_panel) + pf_step;
          _mm_prefetch(at, _MM_HINT_T0);
          if (sizeof(T) == 4) _mm_prefetch(at + 64, _MM_HINT_T0);
        }
      } else if constexpr (prefetch == Prefetch::kNextBlock) {
        _mm_prefetch(pf, _MM_HINT_T1);
        pf += pf_step;
      }
      Vec bv[NV];
#pragma GCC unroll 8
      for (int v = 0; v < NV; ++v) {
        const T* at = b + (v + First) / 2 * b_panel + (v + First) % 2 * kLanes;
        if (prefetch == Prefetch::kIntoL1) _mm_prefetch((const char*)(at + kStepsIntoL1 * b_step), _MM_HINT_T0);
        bv[v] = load_mixed(at);
        if (MR > 1) keep(bv[v]);  // for few rows GCC would load it again with each of them
      }
#pragma GCC unroll 14
      for (int r = 0; r < MR; ++r) {
        const Vec av = set1(place == APlace::kPacked ? a[r] : a[r * a_row]);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[r][v] = fma(av, bv[v], acc[r][v]);
      }
      a += place == APlace::kPacked ? MR : 1;
      b += b_step;
    }
  }
#pragma GCC unroll 14
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) store(g.c + r * g.ldc + v * kLanes, reordered<T>(acc[r][v]));
}

// of[rows - 1]: the tile of NV columns, for as many rows as fit the register file.
template <int NV, class T, APlace place, Prefetch prefetch, size_t... i>
constexpr auto tile_list(std::index_sequence<i...>) {
  struct List {
    TileFn of[sizeof...(i) + 1];
  };
  return List{{tile<(int)i + 1, NV, T, place, prefetch>..., nullptr}};
}
template <int NV, class T, APlace place, Prefetch prefetch>
constexpr auto kTiles = tile_list<NV, T, place, prefetch>(std::make_index_sequence<kTileRows * kTileVecs / NV>());

// Runs a tile kernel of NV columns over `cols` real ones: where the last panel is partial through a buffer, so that
// nothing beyond column N is read or written. A tile narrower than the panel is repeated.
template <int NV, class T, APlace place, Prefetch prefetch>
__attribute__((noinline)) void run_partial_tile(TileArgs g, int64_t rows, int64_t cols) {
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
  for (int64_t j = 0; j < kWidth; j += NV * kLanes) {
    kTiles<NV, T, place, prefetch>.of[rows - 1](g);
    g.b = (const T*)g.b + NV * kLanes;
    g.c += NV * kLanes;
  }
  if (cols < kWidth)
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = 0; j < cols; ++j) c[r * ldc + j] = buffer[r * kWidth + j];
}

template <int NV, class T, APlace place, Prefetch prefetch>
FULMEN_INLINE void run_tile(const TileArgs& g, int64_t rows, int64_t cols) {
  if (NV >= 2 && cols >= NV * kLanes)
    kTiles<NV, T, place, prefetch>.of[rows - 1](g);
  else
    run_partial_tile<NV, T, place, prefetch>(g, rows, cols);
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
