#pragma once
// Loops of the row-wise kernels: over the Vecs of a row (the last one may be partial), and over rows on the pool.

#include "kernels/context.h"
#include "kernels/cpu/simd.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

// Mark lambdas given to row_sum and each_vec with this: `n` is then a constant in the loop over whole Vecs.
#define FULMEN_INLINE_LAMBDA __attribute__((always_inline))

FULMEN_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

FULMEN_INLINE Vec load_some(const float* p, int n) { return n == kLanes ? load(p) : load_n(p, n); }
FULMEN_INLINE void store_some(float* p, Vec v, int n) {
  if (n == kLanes)
    store(p, v);
  else
    store_n(p, v, n);
}

alignas(64) constexpr float kOnes[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
FULMEN_INLINE Vec first_lanes(int n) { return load_n(kOnes, n); }  // 1 in the first n lanes, 0 in the others

// f(i, n) for the elements [i, i + n), n = 16 except at the end.
template <class F>
FULMEN_INLINE void each_vec(int64_t count, F f) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) f(i, kLanes);
  if (i < count) f(i, (int)(count - i));
}

// Rows to hand to a thread at a time, so that a piece is worth waking a worker for.
FULMEN_INLINE int64_t row_grain(int64_t columns) { return columns >= 16384 ? 1 : 16384 / (columns > 0 ? columns : 1); }

constexpr int64_t kExpCost = 4;  // columns that could be copied in the time of one exp and division

// f(row) for each of T rows. A row belongs to one thread.
template <class F>
void for_rows(int64_t T, int64_t columns, Context& ctx, const F& f) {
  ctx.pool->parallel_for(T, row_grain(columns), [&f](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) f(t);
  });
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
