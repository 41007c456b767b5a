#pragma once
// Block-aligned lightning attention of one head of one sequence: the formulas of kernels/lightning.h, once, for
// rollout, learner and backward alike. The learner is a rollout whose cache slot lies in scratch.

#include "kernels/cpu/fma_tile.h"
#include "kernels/lightning.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int kBlock = kLightningBlock;

struct HeadRows {  // rows of one head; ld floats from row to row, negative to walk a sequence backwards
  const float *q, *k, *v;
  float* o;
  ptrdiff_t ld, ld_o;
};

template <class T>
struct HeadSlot {
  float* state;  // (D, D)
  T* k;          // (64/16, D, 16)
  T* v;          // (64, D)
};

inline size_t rows_scratch_floats(int D) { return (size_t)kMaxTileRows * (kBlock + D) + (size_t)D * kBlock; }
inline size_t slot_floats(int D) { return (size_t)D * D + 2 * (size_t)kBlock * D; }

// Turns the state part of rows i0 .. i0+R-1, 16 N columns, into o: its decay, then the chain over the block's tokens.
// The triangle at the end stays in registers: no masked product may touch a sum (0 * v would turn -0 into +0 and NaN
// into NaN).
template <int R, int N, class T>
FULMEN_INLINE void finish_output(Accumulators<R, N>& acc, bool has_state, const float* p, const T* v, int D,
                                 const float* pw, int i0, float* o, ptrdiff_t ld_o) {
  if (has_state) {
#pragma GCC unroll 32
    for (int r = 0; r < R; ++r) {
      const Vec decay = set1(pw[i0 + r + 1]);
#pragma GCC unroll 32
      for (int n = 0; n < N; ++n) acc.v[r][n] = mul(acc.v[r][n], decay);
    }
  }
  reorder<T>(acc);
  fma_chain(acc, RowOperand{p, kBlock, 1}, VecOperand<T>{v, D, kLanes}, i0 + 1);
#pragma GCC unroll 32
  for (int t = 1; t < R; ++t) fma_step(acc, p + i0 + t, kBlock, v + (ptrdiff_t)(i0 + t) * D, kLanes, t);
  reorder<T>(acc);
  store_tile(acc, TileOut{o, ld_o, kLanes});
}

// Rows i0 .. i0+R-1 of the block whose tokens 0 .. i0+R-1 are in the slot. state null: zero.
template <int R, class T>
__attribute__((noinline)) void output_rows(const float* q, ptrdiff_t ld_q, const HeadSlot<T>& slot, const float* state,
                                           const float* pw, int D, int i0, float* o, ptrdiff_t ld_o, float* scratch) {
  float* p = scratch;
  if (R > 1) {  // rows of q are often a multiple of 4 KiB apart and would share cache sets
    float* copy = scratch + kMaxTileRows * kBlock;
    for (int r = 0; r < R; ++r) memcpy(copy + (size_t)r * D, q + r * ld_q, D * sizeof(float));
    q = copy;
    ld_q = D;
  }
  const int panels = (i0 + R - 1) / kLanes + 1;
  constexpr int kStrip = tile_strip(R) < kBlock / kLanes ? tile_strip(R) : kBlock / kLanes;
  multiply_rows<R, false, kStrip>(RowOperand{q, ld_q, 1}, VecOperand<T>{slot.k, kLanes, (ptrdiff_t)D * kLanes}, D,
                                  TileOut{p, kBlock, kLanes}, panels);
  for (int r = 0; r < R; ++r)
    for (int j = 0; j <= i0 + r; ++j) p[r * kBlock + j] = p[r * kBlock + j] * pw[i0 + r - j];
  for_strips<tile_strip(R)>(
      D / kLanes, [&](auto strip, int c) __attribute__((always_inline)) {
        const int x = c * kLanes;
        Accumulators<R, decltype(strip)::value> acc;
        clear(acc);
        if (state) fma_chain(acc, RowOperand{q, ld_q, 1}, VecOperand<float>{state + x, D, kLanes}, D);
        finish_output(acc, state != nullptr, p, slot.v + x, D, pw, i0, o + x, ld_o);
      });
}

// o of token i0 alone over its block, whose P panels of keys hold the tokens before it: its own key comes from `k` and
// is written to its panel only after that was read (a wide load right behind a narrow store to the same bytes waits for
// the store, and so for the line). One walk over the elements of q serves keys and state, so that arithmetic on keys
// hides behind reading the state. Chains and their order are those of output_rows<1>.
template <int P, class T>
__attribute__((noinline)) void output_row(const float* q, const float* k, const HeadSlot<T>& slot, const float* state,
                                          const float* pw, int D, int i0, float* o, float* p) {
  alignas(64) float is_own[kLanes] = {};
  is_own[i0 % kLanes] = -1;
  const Vec own = reordered<T>(load(is_own));
  T* panel = slot.k + (ptrdiff_t)(P - 1) * D * kLanes;
  for_strips<tile_strip(1)>(
      D / kLanes, [&](auto strip, int c) __attribute__((always_inline)) {
        constexpr int N = decltype(strip)::value;
        Accumulators<1, N> acc;
        clear(acc);
        const VecOperand<float> columns{state ? state + c * kLanes : nullptr, D, kLanes};
        if (c == 0) {
          Accumulators<1, P> scores;
          clear(scores);
          for (int x = 0; x < D; ++x) {
            const Vec y = set1(q[x]), key = set1(k[x]);
#pragma GCC unroll 4
            for (int n = 0; n < P; ++n) {
              Vec keys = load_mixed(slot.k + (ptrdiff_t)(n * D + x) * kLanes);
              if (n == P - 1) keys = select_lt(own, zero(), key, keys);
              scores.v[0][n] = fma(y, keys, scores.v[0][n]);
            }
            put(k[x], panel + x * kLanes + i0 % kLanes);
            if (state) fma_step(acc, q + x, 0, columns.p + x * columns.step, columns.vec);
          }
          reorder<T>(scores);
          store_tile(scores, TileOut{p, 0, kLanes});
          for (int j = 0; j <= i0; ++j) p[j] = p[j] * pw[i0 - j];
        } else if (state) {
          fma_chain(acc, RowOperand{q, 0, 1}, columns, D);
        }
        finish_output(acc, state != nullptr, p, slot.v + c * kLanes, D, pw, i0, o + c * kLanes, 0);
      });
}

// State of the block in the slot moved to the start of the next one; `first`: the state before was zero and is not
// read.
template <class T>
__attribute__((noinline)) void advance_state(const HeadSlot<T>& slot, const float* pw, int D, bool first,
                                             float* scratch) {
  float* kd = scratch + (size_t)kMaxTileRows * (kBlock + D);  // (D, 64) keys times their decay
  for (int j0 = 0; j0 < kBlock; j0 += kLanes) {
    alignas(64) float reversed[kLanes];
    for (int i = 0; i < kLanes; ++i) reversed[i] = pw[kBlock - 1 - j0 - i];
    const Vec decay = load(reversed);
    for (int x = 0; x < D; ++x)
      store(kd + (size_t)x * kBlock + j0, mul(load(slot.k + (size_t)(j0 * D + x * kLanes)), decay));
  }
  const Vec decay = set1(pw[kBlock]);
  for_row_tiles(
      D, [&](auto tile, int x) __attribute__((always_inline)) {
        constexpr int R = decltype(tile)::value;
        for_strips<tile_strip(R)>(
            D / kLanes, [&](auto strip, int c) __attribute__((always_inline)) {
              constexpr int N = decltype(strip)::value;
              Accumulators<R, N> acc;
              clear(acc);
              fma_chain(acc, RowOperand{kd + (size_t)x * kBlock, kBlock, 1},
                        VecOperand<T>{slot.v + c * kLanes, D, kLanes}, kBlock);
              reorder<T>(acc);
              float* s = slot.state + (size_t)x * D + c * kLanes;
#pragma GCC unroll 32
              for (int r = 0; r < R; ++r)
#pragma GCC unroll 32
                for (int n = 0; n < N; ++n) {
                  const Vec old = first ? zero() : load(s + r * D + n * kLanes);
                  acc.v[r][n] = fma(decay, old, acc.v[r][n]);
                }
              store_tile(acc, TileOut{s, D, kLanes});
            });
      });
}

// Tokens pos0 .. pos0+rows-1 of one head. The slot holds the state and partial block that pos0 tokens left behind; at
// pos0 = 0 nothing of it is read before it is written.
template <class T>
void lightning_head(HeadRows x, const HeadSlot<T>& slot, const float* pw, int D, int64_t pos0, int64_t rows,
                    float* scratch) {
  for (int64_t done = 0; done < rows;) {
    const int64_t pos = pos0 + done;
    const int i0 = (int)(pos % kBlock);
    if (i0 == 0 && pos > 0) advance_state(slot, pw, D, pos == kBlock, scratch);
    const int n = (int)(rows - done < kBlock - i0 ? rows - done : kBlock - i0);
    const float* state = pos < kBlock ? nullptr : slot.state;
    write_rows(x.v + done * x.ld, x.ld, i0, n, D, slot.v);
    if (n == 1) {
      const auto row = [&](auto panels) {
        output_row<decltype(panels)::value>(x.q + done * x.ld, x.k + done * x.ld, slot, state, pw, D, i0,
                                            x.o + done * x.ld_o, scratch);
      };
      switch (i0 / kLanes) {
        case 0:
          row(TileRows<1>{});
          break;
        case 1:
          row(TileRows<2>{});
          break;
        case 2:
          row(TileRows<3>{});
          break;
        default:
          row(TileRows<4>{});
      }
      done += n;
      continue;
    }
    write_panels(x.k + done * x.ld, x.ld, i0, n, D, slot.k);
    for_row_tiles(n, [&](auto tile, int r) {
      output_rows<decltype(tile)::value>(x.q + (done + r) * x.ld, x.ld, slot, state, pw, D, i0 + r,
                                         x.o + (done + r) * x.ld_o, x.ld_o, scratch);
    });
    done += n;
  }
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
