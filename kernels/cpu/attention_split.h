#pragma once
// One split of softmax attention for a block of queries that share a kv head: online softmax over tiles of 64 keys in
// ascending order, and the merge of splits. The specification is in kernels/attention.h; per query u with p <= pos
// keys:
//   s_j = chain_x fma(q_x, k_jx, 0);  m' = max(m, max_j s_j);  c = exp(m - m');  e_j = exp(s_j - m')
//   l = fma(l, c, sum of the 64 e_j as ((e0+e1)+(e2+e3)) over four vectors, then hsum);  acc = chain_j fma(e_j, v_j,
//   acc * c)
// Keys beyond pos are never multiplied in: their scores are overwritten and the chain over j ends before them.

#include "kernels/attention.h"
#include "kernels/cpu/fma_tile.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int kTile = kAttentionTile;
constexpr int kTilesPerSplit = kAttentionSplit / kAttentionTile;

// Rows of queries are a fixed distance apart, so that a tile addresses them all from one register; D is at most 256,
// and an odd number of cache lines spreads rows over the sets of L1.
constexpr int kQueryStride = 272;

// Queries of one block, row-major over (token, head of the group); query u stands at position pos0 + u / group.
struct QueryBlock {
  const float* q;  // (n, D) in rows of kQueryStride, scaled
  int n, group, D;
  int64_t pos0;
};
struct SplitSums {  // per query
  float* m;
  float* l;
  float* acc;  // (n, D), lanes of each vector in the order of load_mixed for the type of the keys
};
inline size_t split_sums_floats(int n, int D) { return (size_t)n * (D + 2); }
inline SplitSums split_sums_at(float* p, int n, int D) { return {p + (size_t)n * D, p + (size_t)n * (D + 1), p}; }

// Turns R <= 8 rows of 64 scores into weights, masked ones into 0; updates m and l. Factors for what was summed before
// go to `factor`, 16 lanes of which R count.
template <int R>
FULMEN_INLINE void softmax_rows(float* s, const int* valid, float* m, float* l, float* factor) {
  Vec each[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    float* x = s + r * kTile;
    for (int j = valid[r]; j < kTile; ++j) x[j] = -__builtin_inff();
    each[r] = vmax(vmax(load(x), load(x + 16)), vmax(load(x + 32), load(x + 48)));
  }
  const Vec before = load_n(m, R), now = vmax(before, reduce_rows(each, vmax));
  const Vec scale = exp_below(sub(before, now));
  alignas(64) float top[kLanes];
  store(top, now);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    float* x = s + r * kTile;
    const Vec shift = set1(top[r]);
    const Vec e0 = exp_below(sub(load(x), shift)), e1 = exp_below(sub(load(x + 16), shift));
    const Vec e2 = exp_below(sub(load(x + 32), shift)), e3 = exp_below(sub(load(x + 48), shift));
    store(x, e0), store(x + 16, e1), store(x + 32, e2), store(x + 48, e3);
    each[r] = add(add(e0, e1), add(e2, e3));
  }
  store_n(l, fma(load_n(l, R), scale, reduce_rows(each, add)), R);
  store_n(m, now, R);
  store(factor, scale);
}

template <class T>
struct KeyTile {
  int64_t t0;       // first key
  const T* k;       // (4, D, 16)
  const T* v;       // (64, D)
  const T* next_k;  // of the tile that follows, null when none does
  const T* next_v;
};

// R queries from u on against a tile of keys, at least one of which each of them sees. s: scratch (R, 64). The first
// queries of a block ask for the next tile: evenly, so that memory never has more to do than arithmetic leaves time
// for.
template <int R, class T>
__attribute__((noinline)) void attend_rows(const QueryBlock& b, int u, const KeyTile<T>& t, bool ask, SplitSums sums,
                                           float* s) {
  const int D = b.D;
  int valid[R];
  int64_t keys = b.pos0 + u / b.group + 1 - t.t0;
  for (int r = 0, head = u % b.group; r < R; ++r) {
    valid[r] = keys < kTile ? (int)keys : kTile;
    if (++head == b.group) head = 0, ++keys;
  }
  constexpr int kTileStrip = tile_strip(R), kStrip = kTileStrip < kTile / kLanes ? kTileStrip : kTile / kLanes;
  const int panels = (valid[R - 1] + kLanes - 1) / kLanes;
  const int vecs = D / kLanes, shared = valid[0];  // later queries see at least as many keys
  multiply_rows<R, false, kStrip>(RowOperand{b.q + (ptrdiff_t)u * kQueryStride, kQueryStride, 1},
                                  VecOperand<T>{t.k, kLanes, (ptrdiff_t)D * kLanes}, D, TileOut{s, kTile, kLanes},
                                  panels, (const char*)(ask ? t.next_k : nullptr));
  float* acc = sums.acc + (ptrdiff_t)u * D;
  alignas(64) float factor[2 * kLanes];
  constexpr int kFew = R < 8 ? R : 8;
  softmax_rows<kFew>(s, valid, sums.m + u, sums.l + u, factor);
  if constexpr (R > kFew)
    softmax_rows<R - kFew>(s + kFew * kTile, valid + kFew, sums.m + u + kFew, sums.l + u + kFew, factor + kFew);
  for (int r = 0; r < R; ++r) {
    if (factor[r] == 1.0f) continue;
    const Vec f = set1(factor[r]);
    for (int x = 0; x < D; x += kLanes) store(acc + r * D + x, mul(load(acc + r * D + x), f));
  }
  multiply_rows<R, true, kTileStrip, true>(RowOperand{s, kTile, 1}, VecOperand<T>{t.v, D, kLanes}, shared,
                                           TileOut{acc, D, kLanes}, vecs, (const char*)(ask ? t.next_v : nullptr));
  for (int r = 1; r < R; ++r)
    if (valid[r] > shared)
      multiply_rows<1, true, tile_strip(1), true>(RowOperand{s + r * kTile + shared, 0, 1},
                                                  VecOperand<T>{t.v + (ptrdiff_t)shared * D, D, kLanes},
                                                  valid[r] - shared, TileOut{acc + r * D, 0, kLanes}, vecs);
}

// First query of the block that sees key t; b.n when none does.
inline int first_query_at(const QueryBlock& b, int64_t t) {
  const int64_t u = t <= b.pos0 ? 0 : (t - b.pos0) * b.group;
  return u < b.n ? (int)u : b.n;
}

template <class T>
void attend_tile(const QueryBlock& b, const KeyTile<T>& t, SplitSums sums) {
  alignas(64) float scores[kMaxTileRows * kTile];
  const int first = first_query_at(b, t.t0);
  for_row_tiles(b.n - first,
                [&](auto tile, int r) { attend_rows<decltype(tile)::value>(b, first + r, t, r == 0, sums, scores); });
}

inline void clear_sums(SplitSums s, int n, int D) {
  for (int u = 0; u < n; ++u) s.m[u] = -__builtin_inff(), s.l[u] = 0;
  memset(s.acc, 0, (size_t)n * D * sizeof(float));
}

// Adds the sums of the next split, for queries [first, n).
inline void merge_sums(SplitSums into, SplitSums next, int first, int n, int D) {
  for (int u = first; u < n; ++u) {
    const float m = into.m[u] > next.m[u] ? into.m[u] : next.m[u];
    const float x = exp1(into.m[u] - m), y = exp1(next.m[u] - m);
    into.l[u] = __builtin_fmaf(into.l[u], x, next.l[u] * y);
    into.m[u] = m;
    const Vec vx = set1(x), vy = set1(y);
    float* a = into.acc + (ptrdiff_t)u * D;
    const float* c = next.acc + (ptrdiff_t)u * D;
    for (int i = 0; i < D; i += kLanes) store(a + i, fma(load(a + i), vx, mul(load(c + i), vy)));
  }
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
