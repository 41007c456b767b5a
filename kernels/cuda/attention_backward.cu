// Gradient of softmax attention from the saved log-sum-exp (kernels/cpu/attention_backward.cc has the formulas). The
// key side and the query side are walked apart: dk and dv are one chain over ascending queries, dq is one over
// ascending keys, no block ever adds to what another wrote.

#include <cmath>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = kAttentionTile;

struct Backward {
  const float *q, *k, *v, *o, *lse, *d_o;
  float *dq, *dk, *dv, *delta;  // delta (T, H): sum of d_o * o
  int64_t ld_q, ld_k, ld_v, ld_o, ld_lse, ld_do, ld_dq, ld_dk, ld_dv;
  int H, KV, D, queries;  // queries of a block at most
  float scale;
  const Segment* segments;
  const AttentionItem* items;
  const KeyTileItem* tiles;
};

__global__ void delta_kernel(const float* d_o, int64_t ld_do, const float* o, int64_t ld_o, int H, int D, int64_t rows,
                             float* delta) {
  const int j = static_cast<int>(threadIdx.x) % kRowThreads, group = static_cast<int>(threadIdx.x) / kRowThreads;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kBlockRows + group, t = i / H, h = i % H;
  float chain = 0;
  if (i < rows)
    for (int x = j; x < D; x += kRowThreads) chain = fma32(d_o[t * ld_do + h * D + x], o[t * ld_o + h * D + x], chain);
  const float sum = sum_of_64(chain, shared_memory<float>() + group * kRowThreads, j);
  if (i < rows && j == 0) delta[i] = sum;
}

struct Shared {
  float *q, *g, *p, *ds, *lse, *delta, *first, *second;  // first, second: dk and dv (64, D), or dq (queries, D)
  static int64_t floats(int queries, int D, int sums) {
    return static_cast<int64_t>(queries) * (2 * D + 2 * kTile + 2) + static_cast<int64_t>(sums) * D;
  }
  __device__ Shared(float* at, int queries, int D) {
    q = at, g = q + queries * D, p = g + queries * D, ds = p + queries * kTile;
    lse = ds + queries * kTile, delta = lse + queries, first = delta + queries, second = first + kTile * D;
  }
};

struct Queries {  // rows [row, row + n / group) of a segment
  int64_t row;
  int n, group, kv;
};

__device__ void load_queries(const Backward& a, const Segment& seg, const Queries& b, const Shared& s) {
  for (int i = static_cast<int>(threadIdx.x); i < b.n * a.D; i += kThreads) {
    const int u = i / a.D, x = i % a.D, head = b.kv * b.group + u % b.group;
    const int64_t row = seg.row0 + b.row + u / b.group, at = static_cast<int64_t>(head) * a.D + x;
    s.q[i] = a.q[row * a.ld_q + at];
    s.g[i] = a.d_o[row * a.ld_do + at];
    if (x == 0) s.lse[u] = a.lse[row * a.ld_lse + head], s.delta[u] = a.delta[row * a.H + head];
  }
}

// p and ds of the queries against keys t0 .. t0 + 63; 0 where a query does not see the key.
__device__ void scores(const Backward& a, const Segment& seg, const Queries& b, int64_t t0, const Shared& s) {
  for (int i = static_cast<int>(threadIdx.x); i < b.n * kTile; i += kThreads) {
    const int u = i / kTile, j = i % kTile;
    float p = 0, ds = 0;
    if (t0 + j <= b.row + u / b.group) {
      const float* k = a.k + (seg.row0 + t0 + j) * a.ld_k + static_cast<int64_t>(b.kv) * a.D;
      const float* v = a.v + (seg.row0 + t0 + j) * a.ld_v + static_cast<int64_t>(b.kv) * a.D;
      for (int x = 0; x < a.D; ++x) {
        p = fma32(s.q[u * a.D + x], k[x], p);
        ds = fma32(s.g[u * a.D + x], v[x], ds);
      }
      p = exp32(fma32(p, a.scale, -s.lse[u]));
      ds = (p * (ds - s.delta[u])) * a.scale;
    }
    s.p[i] = p;
    s.ds[i] = ds;
  }
}

// Grid: key tiles x KV.
__global__ void __launch_bounds__(kThreads) key_kernel(Backward a) {
  const KeyTileItem item = a.tiles[blockIdx.x];
  const Segment seg = a.segments[item.segment];
  const int D = a.D, group = a.H / a.KV, per = a.queries / group, kv = static_cast<int>(blockIdx.y);
  const int tid = static_cast<int>(threadIdx.x);
  const Shared s(shared_memory<float>(), a.queries, D);
  for (int i = tid; i < 2 * kTile * D; i += kThreads) s.first[i] = 0;
  for (int64_t row = item.first / per * per; row < seg.rows; row += per) {
    const int rows = static_cast<int>(seg.rows - row < per ? seg.rows - row : per);
    const Queries b{row, rows * group, group, kv};
    __syncthreads();
    load_queries(a, seg, b, s);
    __syncthreads();
    scores(a, seg, b, item.first, s);
    __syncthreads();
    for (int i = tid; i < kTile * D; i += kThreads) {
      const int j = i / D, x = i % D;
      float dk = s.first[i], dv = s.second[i];
      for (int u = 0; u < b.n; ++u) {
        dv = fma32(s.p[u * kTile + j], s.g[u * D + x], dv);
        dk = fma32(s.ds[u * kTile + j], s.q[u * D + x], dk);
      }
      s.first[i] = dk;
      s.second[i] = dv;
    }
  }
  __syncthreads();
  for (int i = tid; i < kTile * D; i += kThreads) {
    const int64_t j = item.first + i / D, at = static_cast<int64_t>(kv) * D + i % D;
    if (j >= seg.rows) continue;
    a.dk[(seg.row0 + j) * a.ld_dk + at] = s.first[i];
    a.dv[(seg.row0 + j) * a.ld_dv + at] = s.second[i];
  }
}

// Grid: blocks of queries x KV.
__global__ void __launch_bounds__(kThreads) query_kernel(Backward a) {
  const AttentionItem item = a.items[blockIdx.x];
  const Segment seg = a.segments[item.segment];
  const int D = a.D, group = a.H / a.KV, kv = static_cast<int>(blockIdx.y), tid = static_cast<int>(threadIdx.x);
  const Shared s(shared_memory<float>(), a.queries, D);
  const Queries b{item.row, item.rows * group, group, kv};
  load_queries(a, seg, b, s);
  for (int i = tid; i < b.n * D; i += kThreads) s.first[i] = 0;
  for (int64_t t0 = 0; t0 < item.row + item.rows; t0 += kTile) {
    __syncthreads();
    scores(a, seg, b, t0, s);
    __syncthreads();
    const int keys = static_cast<int>(seg.rows - t0 < kTile ? seg.rows - t0 : kTile);
    const float* k = a.k + (seg.row0 + t0) * a.ld_k + static_cast<int64_t>(kv) * D;
    for (int i = tid; i < b.n * D; i += kThreads) {
      const int u = i / D, x = i % D;
      float dq = s.first[i];
      for (int j = 0; j < keys; ++j) dq = fma32(s.ds[u * kTile + j], k[j * a.ld_k + x], dq);
      s.first[i] = dq;
    }
  }
  for (int i = tid; i < b.n * D; i += kThreads) {
    const int u = i / D, head = kv * group + u % group;
    a.dq[(seg.row0 + item.row + u / group) * a.ld_dq + static_cast<int64_t>(head) * D + i % D] = s.first[i];
  }
}

}  // namespace

void attention_delta(const AttentionBackward& b, float* delta, State& state) {
  const int64_t rows = b.q.dim[0] * b.H;
  launch(state, "attention_backward: delta", delta_kernel,
         dim3(static_cast<unsigned>((rows + kBlockRows - 1) / kBlockRows)), kRowThreads * kBlockRows,
         kRowThreads * kBlockRows * sizeof(float), b.d_o.f32(), b.d_o.ld, b.o.f32(), b.o.ld, b.H, b.D, rows, delta);
}

void attention_backward(const AttentionBackward& b, Context& ctx) {
  State& state = state_of(ctx);
  if (b.kv == DType::kBf16 && b.D <= 128) return attention_backward_bf16(b, state);
  State::Frame frame(state);
  Backward a{};
  a.q = b.q.f32(), a.k = b.k.f32(), a.v = b.v.f32(), a.o = b.o.f32(), a.lse = b.lse.f32(), a.d_o = b.d_o.f32();
  a.dq = b.dq.f32(), a.dk = b.dk.f32(), a.dv = b.dv.f32();
  a.ld_q = b.q.ld, a.ld_k = b.k.ld, a.ld_v = b.v.ld, a.ld_o = b.o.ld, a.ld_lse = b.lse.ld, a.ld_do = b.d_o.ld;
  a.ld_dq = b.dq.ld, a.ld_dk = b.dk.ld, a.ld_dv = b.dv.ld;
  a.H = b.H, a.KV = b.KV, a.D = b.D, a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(b.D)));
  const int group = b.H / b.KV;
  a.queries = rows_per_block(group) * group;
  a.delta = frame.take<float>(b.q.dim[0] * b.H);
  const AttentionPlan plan = plan_attention(b.segments, group);
  const std::vector<KeyTileItem> tiles = plan_key_tiles(b.segments);
  a.segments = state.upload(b.segments);
  a.items = state.upload(std::span<const AttentionItem>(plan.items));
  a.tiles = state.upload(std::span<const KeyTileItem>(tiles));
  const auto shared = [&](int sums) {
    return static_cast<size_t>(Shared::floats(a.queries, a.D, sums)) * sizeof(float);
  };
  FULMEN_CHECK(shared(2 * kTile) <= static_cast<size_t>(state.shared_limit()),
               "attention_backward: " + std::to_string(group) + " query heads per KV head of width " +
                   std::to_string(a.D) + " need " + std::to_string(shared(2 * kTile)) +
                   " bytes of shared memory, this GPU has " + std::to_string(state.shared_limit()));
  attention_delta(b, a.delta, state);
  const auto heads = static_cast<unsigned>(b.KV);
  launch(state, "attention_backward: keys", key_kernel, dim3(static_cast<unsigned>(tiles.size()), heads), kThreads,
         shared(2 * kTile), a);
  launch(state, "attention_backward: queries", query_kernel, dim3(static_cast<unsigned>(plan.items.size()), heads),
         kThreads, shared(a.queries), a);
}

}  // namespace fulmen::kernels::cuda
