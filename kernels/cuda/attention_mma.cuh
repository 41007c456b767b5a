#pragma once
// Softmax attention in bf16 on the tensor cores: the order of kernels/attention.h (tiles of 64 keys from position 0,
// splits of 1024 that start fresh, merged in order), every product an mma.sync m16n8k16. Canonical for a query:
//
//   s_j    = (sum over x, 16 at a time ascending, of bf16(q) k_j) * scale log2(e)         so all exponentials are 2^x
//   tile   m' = max(m, s_j); p_j = 2^(s_j - m'); f = 2^(m - m')
//          sum p: lane t of 4 adds keys 2t, 2t + 1 of every 8 in order, then (0 + 1) + (2 + 3);  l = fma(l, f, sum p)
//          acc = acc f + bf16(p) v, 16 keys at a time ascending
//   splits merged: x = 2^(m_a - m), y = 2^(m_b - m); fma(a, x, b y)
//   o = acc * (1 / l)
//
// A tile of which a query sees nothing changes nothing of it. Queries of a sequence are numbered f = row * group + head
// of the group, so those that share keys stand together.

#include <cmath>

#include "kernels/attention.h"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/tensor.cuh"

namespace fulmen::kernels::cuda {

constexpr float kLowest = -INFINITY;
constexpr int kKeyTile = kAttentionTile;

template <int kPairs>
struct RowSums {  // of rows g and g + 8 of a warp's 16 queries; acc: 16 columns a pair
  float m[2] = {kLowest, kLowest}, l[2] = {0, 0};
  float acc[kPairs][2][4] = {};

  // f(value, row 0 or 1) for all of acc.
  template <class F>
  __device__ void each(F f) {
    FULMEN_UNROLL
    for (int i = 0; i < kPairs; ++i) FULMEN_UNROLL
    for (int n = 0; n < 8; ++n) f(acc[i][n / 4][n % 4], n % 4 / 2);
  }
};

// Scores to weights. visible: keys of the tile that a row sees. factor: for what was summed before.
template <int kPairs>
__device__ void weigh(float (&s)[8][4], const int (&visible)[2], float scale, RowSums<kPairs>& sums, float (&factor)[2],
                      uint32_t (&p)[4][4]) {
  const int t = lane_id() % 4;
  FULMEN_UNROLL
  for (int r = 0; r < 2; ++r) {
    float top = kLowest, sum = 0;
    FULMEN_UNROLL
    for (int n = 0; n < 16; ++n) {
      float& x = s[n / 2][2 * r + n % 2];
      x = n / 2 * 8 + 2 * t + n % 2 < visible[r] ? x * scale : kLowest;
      top = larger(top, x);
    }
    top = larger(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = larger(top, __shfl_xor_sync(0xffffffffu, top, 2));
    const bool any = visible[r] > 0;
    const float m = larger(sums.m[r], top);
    FULMEN_UNROLL
    for (int n = 0; n < 16; ++n) {
      float& x = s[n / 2][2 * r + n % 2];
      x = any ? power_of_two(x - m) : 0.0f;
      sum = sum + x;
    }
    sum = sum + __shfl_xor_sync(0xffffffffu, sum, 1);
    sum = sum + __shfl_xor_sync(0xffffffffu, sum, 2);
    factor[r] = any ? power_of_two(sums.m[r] - m) : 1.0f;
    sums.l[r] = fma32(sums.l[r], factor[r], sum);
    sums.m[r] = m;
  }
  pack_weights(s, p);
}

// The sums of the splits before, needed once in 16 tiles: in local memory, not in registers, which an index that the
// compiler cannot know (`zero`) tells it.
template <int kPairs>
struct SetAside {
  float value[8 * kPairs + 4];

  __device__ void put(RowSums<kPairs>& sums, int zero) {
    float* at = value + zero;
    sums.each([&](float& acc, int) { *at++ = acc; });
    for (int r = 0; r < 2; ++r) *at++ = sums.m[r], *at++ = sums.l[r];
  }
  // sums = these, merged with sums where a row reached that split.
  __device__ void merge_into(RowSums<kPairs>& sums, const bool (&reached)[2], int zero) const {
    const float* at = value + zero;
    float x[2], y[2];
    FULMEN_UNROLL
    for (int r = 0; r < 2; ++r) {
      const float before_m = at[8 * kPairs + 2 * r], before_l = at[8 * kPairs + 2 * r + 1];
      const float m = larger(before_m, sums.m[r]);
      x[r] = power_of_two(before_m - m), y[r] = power_of_two(sums.m[r] - m);
      sums.l[r] = reached[r] ? fma32(before_l, x[r], sums.l[r] * y[r]) : before_l;
      sums.m[r] = reached[r] ? m : before_m;
    }
    sums.each([&](float& acc, int r) {
      const float before = *at++;
      acc = reached[r] ? fma32(before, x[r], acc * y[r]) : before;
    });
  }
};

struct AttentionForwardBf16 {
  const float *q, *k, *v;
  float *o, *lse;  // lse may be null
  int64_t ld_q, ld_k, ld_v, ld_o, ld_lse;
  int H, KV, D, group;
  float scale;              // times log2(e)
  uint16_t *keys, *values;  // pages (KV, 64, D), or without a cache rows (T, KV, D)
  const int32_t* page_table;
  int64_t max_pages;
  const Segment* segments;
  bool wide;
};

// Row of `keys` and `values` where token `pos` of the segment begins, and the step to the next of the same tile.
struct KeyRows {
  int64_t at, step;
};
__device__ inline KeyRows key_rows(const AttentionForwardBf16& a, const Segment& seg, int kv, int64_t pos) {
  if (a.page_table == nullptr) return {((seg.row0 + pos) * a.KV + kv) * a.D, static_cast<int64_t>(a.KV) * a.D};
  const int64_t page = a.page_table[seg.slot * a.max_pages + pos / kKeyTile];
  return {((page * a.KV + kv) * kKeyTile + pos % kKeyTile) * a.D, a.D};
}

// A tile of keys and values on its way to shared memory; zero from position `end` on (weights there are zero).
template <int kThreads>
__device__ void fetch_tile(const AttentionForwardBf16& a, const Segment& seg, int kv, int64_t t0, int64_t end,
                           uint16_t* k, int ld) {
  const int across = a.D / 8;
  const KeyRows rows = key_rows(a, seg, kv, t0);
  uint16_t* v = k + kKeyTile * ld;
  for (int i = static_cast<int>(threadIdx.x); i < kKeyTile * across; i += kThreads) {
    const int r = i / across, x = i % across * 8, bytes = t0 + r < end ? 16 : 0;
    const int64_t from = rows.at + (bytes > 0 ? r * rows.step + x : 0);
    copy_async(k + r * ld + x, a.keys + from, bytes);
    copy_async(v + r * ld + x, a.values + from, bytes);
  }
  copies_close();
}

// Queries f .. f + count - 1 in bf16, rows of shared memory; `rows` of them, the others zero.
template <int kThreads>
__device__ void load_queries(const AttentionForwardBf16& a, const Segment& seg, int kv, int first, int count, int rows,
                             uint16_t* to, int ld) {
  const int across = a.D / 4;
  for (int i = static_cast<int>(threadIdx.x); i < rows * across; i += kThreads) {
    const int u = i / across, x = i % across * 4, f = first + u;
    Four q{};
    if (u < count)
      q = load_four(
          a.q + (seg.row0 + f / a.group) * a.ld_q + static_cast<int64_t>(kv * a.group + f % a.group) * a.D + x, a.wide);
    store_four_bf16(to + u * ld + x, q);
  }
}

__device__ inline int visible_keys(int64_t keys, int64_t t0) {
  return keys <= t0 ? 0 : keys - t0 < kKeyTile ? static_cast<int>(keys - t0) : kKeyTile;
}

__device__ inline void write_lse(const AttentionForwardBf16& a, int64_t row, int head, float m, float l) {
  if (a.lse != nullptr)
    a.lse[row * a.ld_lse + head] = static_cast<float>(m * 0.6931471805599453 + log(static_cast<double>(l)));
}

}  // namespace fulmen::kernels::cuda
