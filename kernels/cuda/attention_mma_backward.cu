// Gradient of softmax attention in bf16 on the tensor cores, for D up to 128 (wider heads take the CUDA cores). As in
// attention_backward.cu the key side and the query side are walked apart, so no block adds to what another wrote:
//
//   p = 2^(q . k scale log2(e) - lse log2(e))        ds = p (g . v - delta) scale
//   dv = sum over queries of bf16(p) g    dk = sum over queries of bf16(ds) q    dq = sum over keys of bf16(ds) k
//
// each one fp32 accumulator over 16 queries or keys at a time, ascending. A warp has 16 keys, or 16 queries; what it
// computes of p and ds is at once the left operand of the sums. At D = 128: 70 KB of shared memory and 128 threads of
// up to 255 registers, two blocks a multiprocessor.

#include <cmath>

#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/entries.h"
#include "kernels/cuda/tensor.cuh"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = kAttentionTile;
constexpr float kLog2e = 1.4426950408889634f;

struct Backward {
  const float *q, *k, *v, *lse, *d_o, *delta;  // delta (T, H): sum of d_o * o
  float *dq, *dk, *dv;
  int64_t ld_q, ld_k, ld_v, ld_lse, ld_do, ld_dq, ld_dk, ld_dv;
  int H, KV, D, group;
  float scale;
  const Segment* segments;
  const QueryItem* items;
  const KeyTileItem* tiles;
  bool wide;
};

struct Shared {
  uint16_t *k, *v, *q, *g;  // (64, D)
  float *lse, *delta;       // (64); lse times log2(e)
  int* row;                 // (64), within the segment; -1: no query
  int ld;

  static size_t bytes(int D) {
    return 4 * sizeof(uint16_t) * kTile * (static_cast<size_t>(D) + 8) + 3 * sizeof(float) * kTile;
  }
  __device__ Shared(unsigned char* at, int D) : ld(D + 8) {
    k = reinterpret_cast<uint16_t*>(at);
    v = k + kTile * ld, q = v + kTile * ld, g = q + kTile * ld;
    lse = reinterpret_cast<float*>(g + kTile * ld);
    delta = lse + kTile;
    row = reinterpret_cast<int*>(delta + kTile);
  }
};

__device__ void load_keys(const Backward& a, const Shared& s, const Segment& seg, int kv, int64_t t0) {
  const int across = a.D / 4;
  for (int i = static_cast<int>(threadIdx.x); i < kTile * across; i += kThreads) {
    const int r = i / across, x = i % across * 4;
    const int64_t row = seg.row0 + t0 + r, at = static_cast<int64_t>(kv) * a.D + x;
    Four k{}, v{};
    if (t0 + r < seg.rows) {
      k = load_four(a.k + row * a.ld_k + at, a.wide);
      v = load_four(a.v + row * a.ld_v + at, a.wide);
    }
    store_four_bf16(s.k + r * s.ld + x, k);
    store_four_bf16(s.v + r * s.ld + x, v);
  }
}

// Queries first .. first + count - 1 (row * group + head of the group).
__device__ void load_queries(const Backward& a, const Shared& s, const Segment& seg, int kv, int first, int count) {
  const int across = a.D / 4;
  for (int i = static_cast<int>(threadIdx.x); i < kTile * across; i += kThreads) {
    const int u = i / across, x = i % across * 4, f = first + u, head = kv * a.group + f % a.group;
    const int64_t row = seg.row0 + f / a.group, at = static_cast<int64_t>(head) * a.D + x;
    Four q{}, g{};
    if (u < count) {
      q = load_four(a.q + row * a.ld_q + at, a.wide);
      g = load_four(a.d_o + row * a.ld_do + at, a.wide);
    }
    store_four_bf16(s.q + u * s.ld + x, q);
    store_four_bf16(s.g + u * s.ld + x, g);
    if (x > 0) continue;
    s.row[u] = u < count ? f / a.group : -1;
    s.lse[u] = u < count ? a.lse[row * a.ld_lse + head] * kLog2e : 0.0f;
    s.delta[u] = u < count ? a.delta[row * a.H + head] : 0.0f;
  }
}

// 16 rows of `a` against 8 * kEights rows of `b`.
template <int kEights>
__device__ void row_products(float (&d)[kEights][4], const uint16_t* a, const uint16_t* b, int ld, int D) {
  FULMEN_UNROLL
  for (int n = 0; n < 4 * kEights; ++n) d[n / 4][n % 4] = 0;
  for (int x = 0; x < D; x += 16) {
    uint32_t left[4], right[4];
    a_rows(left, a + x, ld);
    FULMEN_UNROLL
    for (int j = 0; j < kEights / 2; ++j) {
      b_columns(right, b + j * 16 * ld + x, ld);
      const uint32_t even[2] = {right[0], right[1]}, odd[2] = {right[2], right[3]};
      mma_bf16(d[2 * j], left, even);
      mma_bf16(d[2 * j + 1], left, odd);
    }
  }
}

// sums += a b, a of 16 rows, b 16 rows of shared memory.
template <int kPairs>
__device__ void add_products(float (&sums)[kPairs][2][4], const uint32_t (&a)[4], const uint16_t* b, int ld, int D) {
  FULMEN_UNROLL
  for (int i = 0; i < kPairs; ++i) {
    if (i * 16 >= D) break;
    uint32_t right[4];
    b_rows(right, b + i * 16, ld);
    mma_pair(sums[i], a, right);
  }
}

template <int kEights>
__device__ void pack_step(uint32_t (&a)[4], const float (&d)[kEights][4], int step) {
  FULMEN_UNROLL
  for (int i = 0; i < 4; ++i) a[i] = pack_bf16(d[2 * step + i / 2][i % 2 * 2], d[2 * step + i / 2][i % 2 * 2 + 1]);
}

// p and ds from scores and g . v, in place.
__device__ void weigh(float& score, float& product, float scale, float lse, float delta, bool visible) {
  const float p = visible ? power_of_two(fma32(score, scale * kLog2e, -lse)) : 0.0f;
  product = (p * (product - delta)) * scale;
  score = p;
}

template <int kPairs>
__device__ void write_rows(const float (&sums)[kPairs][2][4], int r, float* to, int D, bool wide) {
  const int t = lane_id() % 4;
  FULMEN_UNROLL
  for (int i = 0; i < kPairs; ++i) FULMEN_UNROLL
  for (int n = 0; n < 2; ++n)
    if (i * 16 < D) store_two(to + i * 16 + n * 8 + 2 * t, sums[i][n][2 * r], sums[i][n][2 * r + 1], wide);
}

// Grid: key tiles x KV. Warps: 16 keys each; 32 queries at a time, for the registers' sake.
template <int kD>
__global__ void __launch_bounds__(kThreads, 2) key_kernel(Backward a) {
  constexpr int kPairs = kD / 16, kHalf = kTile / 2;
  const KeyTileItem item = a.tiles[blockIdx.x];
  const Segment seg = a.segments[item.segment];
  const int D = a.D, kv = static_cast<int>(blockIdx.y), g = lane_id() / 4, t = lane_id() % 4;
  const int key0 = item.first + warp_id() * 16 + g;
  const Shared s(shared_bytes(), D);
  load_keys(a, s, seg, kv, item.first);
  float dk[kPairs][2][4] = {}, dv[kPairs][2][4] = {};
  const uint16_t *k = s.k + warp_id() * 16 * s.ld, *v = s.v + warp_id() * 16 * s.ld;
  const int queries = seg.rows * a.group;
  for (int first = item.first * a.group; first < queries; first += kTile) {
    __syncthreads();
    load_queries(a, s, seg, kv, first, queries - first < kTile ? queries - first : kTile);
    __syncthreads();
    for (int u0 = 0; u0 < kTile; u0 += kHalf) {
      float p[4][4], ds[4][4];  // transposed: rows are keys
      row_products(p, k, s.q + u0 * s.ld, s.ld, D);
      row_products(ds, v, s.g + u0 * s.ld, s.ld, D);
      FULMEN_UNROLL
      for (int n = 0; n < 16; ++n) {
        const int u = u0 + n / 4 * 8 + 2 * t + n % 2, key = key0 + n % 4 / 2 * 8;
        weigh(p[n / 4][n % 4], ds[n / 4][n % 4], a.scale, s.lse[u], s.delta[u], key <= s.row[u]);
      }
      FULMEN_UNROLL
      for (int j = 0; j < 2; ++j) {
        uint32_t left[4];
        pack_step(left, p, j);
        add_products(dv, left, s.g + (u0 + 16 * j) * s.ld, s.ld, D);
        pack_step(left, ds, j);
        add_products(dk, left, s.q + (u0 + 16 * j) * s.ld, s.ld, D);
      }
    }
  }
  FULMEN_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int key = key0 + 8 * r;
    if (key >= seg.rows) continue;
    write_rows(dk, r, a.dk + (seg.row0 + key) * a.ld_dk + static_cast<int64_t>(kv) * D, D, a.wide);
    write_rows(dv, r, a.dv + (seg.row0 + key) * a.ld_dv + static_cast<int64_t>(kv) * D, D, a.wide);
  }
}

// Grid: items x KV. Warps: 16 queries each.
template <int kD>
__global__ void __launch_bounds__(kThreads, 2) query_kernel(Backward a) {
  constexpr int kPairs = kD / 16;
  const QueryItem item = a.items[blockIdx.x];
  const Segment seg = a.segments[item.segment];
  const int D = a.D, kv = static_cast<int>(blockIdx.y), g = lane_id() / 4, t = lane_id() % 4;
  const Shared s(shared_bytes(), D);
  load_queries(a, s, seg, kv, item.first, item.count);
  float dq[kPairs][2][4] = {};
  const int last = (item.first + item.count - 1) / a.group, u0 = warp_id() * 16;
  for (int t0 = 0; t0 <= last; t0 += kTile) {
    __syncthreads();
    load_keys(a, s, seg, kv, t0);
    __syncthreads();
    float p[8][4], ds[8][4];
    row_products(p, s.q + u0 * s.ld, s.k, s.ld, D);
    row_products(ds, s.g + u0 * s.ld, s.v, s.ld, D);
    FULMEN_UNROLL
    for (int n = 0; n < 32; ++n) {
      const int u = u0 + g + n % 4 / 2 * 8, key = t0 + n / 4 * 8 + 2 * t + n % 2;
      weigh(p[n / 4][n % 4], ds[n / 4][n % 4], a.scale, s.lse[u], s.delta[u], key <= s.row[u]);
    }
    FULMEN_UNROLL
    for (int j = 0; j < 4; ++j) {
      uint32_t left[4];
      pack_step(left, ds, j);
      add_products(dq, left, s.k + 16 * j * s.ld, s.ld, D);
    }
  }
  FULMEN_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int u = u0 + g + 8 * r, f = item.first + u, head = kv * a.group + f % a.group;
    if (u >= item.count) continue;
    write_rows(dq, r, a.dq + (seg.row0 + f / a.group) * a.ld_dq + static_cast<int64_t>(head) * D, D, a.wide);
  }
}

template <int kD>
void run(const Backward& a, size_t tiles, size_t items, State& state) {
  const auto heads = static_cast<unsigned>(a.KV);
  launch(state, "attention_backward: keys", key_kernel<kD>, dim3(static_cast<unsigned>(tiles), heads), kThreads,
         Shared::bytes(a.D), a);
  launch(state, "attention_backward: queries", query_kernel<kD>, dim3(static_cast<unsigned>(items), heads), kThreads,
         Shared::bytes(a.D), a);
}

}  // namespace

void attention_backward_bf16(const AttentionBackward& b, State& state) {
  State::Frame frame(state);
  Backward a{};
  a.q = b.q.f32(), a.k = b.k.f32(), a.v = b.v.f32(), a.lse = b.lse.f32(), a.d_o = b.d_o.f32();
  a.dq = b.dq.f32(), a.dk = b.dk.f32(), a.dv = b.dv.f32();
  a.ld_q = b.q.ld, a.ld_k = b.k.ld, a.ld_v = b.v.ld, a.ld_lse = b.lse.ld, a.ld_do = b.d_o.ld;
  a.ld_dq = b.dq.ld, a.ld_dk = b.dk.ld, a.ld_dv = b.dv.ld;
  a.H = b.H, a.KV = b.KV, a.D = b.D, a.group = b.H / b.KV;
  a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(b.D)));
  a.wide = wide_rows(a.q, a.ld_q) && wide_rows(a.k, a.ld_k) && wide_rows(a.v, a.ld_v) && wide_rows(a.d_o, a.ld_do) &&
           wide_rows(a.dq, a.ld_dq) && wide_rows(a.dk, a.ld_dk) && wide_rows(a.dv, a.ld_dv);
  auto* delta = frame.take<float>(b.q.dim[0] * b.H);
  attention_delta(b, delta, state);
  a.delta = delta;
  const QueryPlan plan = plan_queries(b.segments, a.group, false);
  const std::vector<KeyTileItem> tiles = plan_key_tiles(b.segments);
  a.segments = state.upload(b.segments);
  a.items = state.upload(std::span<const QueryItem>(plan.many));
  a.tiles = state.upload(std::span<const KeyTileItem>(tiles));
  a.D <= 64 ? run<64>(a, tiles.size(), plan.many.size(), state) : run<128>(a, tiles.size(), plan.many.size(), state);
}

}  // namespace fulmen::kernels::cuda
