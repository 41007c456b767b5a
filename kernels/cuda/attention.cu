// Forward of softmax attention in fp32 on the CUDA cores (attention_mma.cu has bf16), in the order of
// kernels/cpu/attention_split.h: tiles of 64 keys from position 0, splits of 1024, online softmax fresh in each split,
// splits merged in order.

#include <cmath>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/attention_plan.h"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = kAttentionTile;
constexpr int kTilesPerSplit = kAttentionSplit / kAttentionTile;
constexpr float kLowest = -INFINITY;

struct Forward {
  const float *q, *k, *v;
  float *o, *lse;  // lse may be null
  int64_t ld_q, ld_k, ld_v, ld_o, ld_lse;
  int H, KV, D;
  float scale;
  float *cache_k, *cache_v;  // pages (KV, 64, D); null without a cache
  const int32_t* page_table;
  int64_t max_pages;
  const Segment* segments;
  const AttentionItem* items;
  int max_queries, max_splits;
};

struct Sums {  // per query of a block
  float *m, *l, *acc;
  __device__ Sums(float* at, int n, int D) : m(at), l(at + n), acc(at + 2 * n) { (void)D; }
};
__host__ __device__ int64_t sums_floats(int n, int D) { return static_cast<int64_t>(n) * (D + 2); }

struct Block {  // of queries: u = (row of the item) * group + head of the group
  AttentionItem item;
  Segment seg;
  int kv, group, n;
  int64_t pos0;                                                          // of its first row
  __device__ int64_t keys(int u) const { return pos0 + u / group + 1; }  // that query u sees
};

__device__ Block block_of(const Forward& a, int item, int kv) {
  Block b;
  b.item = a.items[item];
  b.seg = a.segments[b.item.segment];
  b.kv = kv;
  b.group = a.H / a.KV;
  b.n = b.item.rows * b.group;
  b.pos0 = static_cast<int64_t>(b.seg.pos0) + b.item.row;
  return b;
}

struct Shared {
  float *keys, *q, *p, *total, *next;
  static __host__ __device__ int64_t floats(int n, int D) {
    return kTile * (D + 1) + static_cast<int64_t>(n) * (D + kTile) + 2 * sums_floats(n, D);
  }
  __device__ Shared(float* at, int n, int D) {
    keys = at;
    q = keys + kTile * (D + 1);
    p = q + n * D;
    total = p + n * kTile;
    next = total + sums_floats(n, D);
  }
};

// n keys (or values) from t0 on into shared memory, ld D + 1.
__device__ void load_tile(const Forward& a, const Block& b, const float* pages, const float* rows, int64_t ld,
                          int64_t t0, int n, float* to) {
  const int D = a.D;
  if (pages != nullptr) {
    const int64_t page = a.page_table[b.seg.slot * a.max_pages + t0 / kTile];
    const float* from = pages + (page * a.KV + b.kv) * kTile * D;
    for (int i = static_cast<int>(threadIdx.x); i < n * D; i += kThreads) to[i / D * (D + 1) + i % D] = from[i];
    return;
  }
  const float* from = rows + (b.seg.row0 + t0) * ld + static_cast<int64_t>(b.kv) * D;
  for (int i = static_cast<int>(threadIdx.x); i < n * D; i += kThreads)
    to[i / D * (D + 1) + i % D] = from[i / D * ld + i % D];
}

// Scores to weights, a warp a query; updates m and l; the factor for what was summed before goes to p[u][0]'s row end.
__device__ void softmax_tile(const Block& b, int64_t t0, float* p, const Sums& sums, float* factor) {
  const int lane = static_cast<int>(threadIdx.x) % 32, half = lane & 15;
  for (int u = static_cast<int>(threadIdx.x) / 32; u < b.n; u += kThreads / 32) {
    if (b.keys(u) <= t0) continue;  // the same for all lanes
    float* x = p + u * kTile;
    const float x0 = x[half], x1 = x[16 + half], x2 = x[32 + half], x3 = x[48 + half];
    float top = larger(larger(x0, x1), larger(x2, x3));
    for (int s = 8; s > 0; s >>= 1) top = larger(top, __shfl_xor_sync(0xffffffffu, top, s));
    const float before = sums.m[u], m = larger(before, top);
    const float e0 = exp32(x0 - m), e1 = exp32(x1 - m), e2 = exp32(x2 - m), e3 = exp32(x3 - m);
    float sum = (e0 + e1) + (e2 + e3);
    for (int s = 8; s > 0; s >>= 1) sum = sum + __shfl_down_sync(0xffffffffu, sum, s);
    __syncwarp();  // everyone has read m
    if (lane < 16) x[half] = e0, x[16 + half] = e1, x[32 + half] = e2, x[48 + half] = e3;
    if (lane == 0) {
      const float f = exp32(before - m);
      factor[u] = f;
      sums.l[u] = fma32(sums.l[u], f, sum);
      sums.m[u] = m;
    }
  }
}

__device__ void attend_split(const Forward& a, const Block& b, int split, const Shared& s, const Sums& sums,
                             float* factor) {
  const int D = a.D, tid = static_cast<int>(threadIdx.x);
  for (int i = tid; i < b.n; i += kThreads) sums.m[i] = kLowest, sums.l[i] = 0;
  for (int i = tid; i < b.n * D; i += kThreads) sums.acc[i] = 0;
  const int64_t end = b.keys(b.n - 1);  // of what the last query sees
  for (int64_t tile = static_cast<int64_t>(split) * kTilesPerSplit;
       tile < (static_cast<int64_t>(split) + 1) * kTilesPerSplit && tile * kTile < end; ++tile) {
    const int64_t t0 = tile * kTile;
    const int keys = static_cast<int>(end - t0 < kTile ? end - t0 : kTile);
    __syncthreads();
    load_tile(a, b, a.cache_k, a.k, a.ld_k, t0, keys, s.keys);
    __syncthreads();
    for (int i = tid; i < b.n * kTile; i += kThreads) {
      const int u = i / kTile, j = i % kTile;
      float score = kLowest;
      if (t0 + j < b.keys(u)) {
        score = 0;
        for (int x = 0; x < D; ++x) score = fma32(s.q[u * D + x], s.keys[j * (D + 1) + x], score);
      }
      s.p[i] = score;
    }
    __syncthreads();
    softmax_tile(b, t0, s.p, sums, factor);
    load_tile(a, b, a.cache_v, a.v, a.ld_v, t0, keys, s.keys);
    __syncthreads();
    for (int i = tid; i < b.n * D; i += kThreads) {
      const int u = i / D, x = i % D;
      const int64_t visible = b.keys(u) - t0;
      if (visible <= 0) continue;
      float sum = sums.acc[i] * factor[u];
      for (int j = 0; j < kTile && j < visible; ++j) sum = fma32(s.p[u * kTile + j], s.keys[j * (D + 1) + x], sum);
      sums.acc[i] = sum;
    }
  }
  __syncthreads();
}

// Adds the sums of the next split, for queries that reach it.
__device__ void merge_split(const Block& b, int split, int D, const Sums& into, const Sums& next) {
  const int64_t first = static_cast<int64_t>(split) * kAttentionSplit;
  for (int i = static_cast<int>(threadIdx.x); i < b.n * D; i += kThreads) {
    const int u = i / D;
    if (b.keys(u) <= first) continue;
    const float m = larger(into.m[u], next.m[u]), x = exp32(into.m[u] - m), y = exp32(next.m[u] - m);
    into.acc[i] = fma32(into.acc[i], x, next.acc[i] * y);
  }
  __syncthreads();
  for (int u = static_cast<int>(threadIdx.x); u < b.n; u += kThreads) {
    if (b.keys(u) <= first) continue;
    const float m = larger(into.m[u], next.m[u]), x = exp32(into.m[u] - m), y = exp32(next.m[u] - m);
    into.l[u] = fma32(into.l[u], x, next.l[u] * y);
    into.m[u] = m;
  }
  __syncthreads();
}

__device__ void write_output(const Forward& a, const Block& b, const Sums& sums) {
  for (int i = static_cast<int>(threadIdx.x); i < b.n * a.D; i += kThreads) {
    const int u = i / a.D, x = i % a.D, head = b.kv * b.group + u % b.group;
    const int64_t row = b.seg.row0 + b.item.row + u / b.group;
    a.o[row * a.ld_o + static_cast<int64_t>(head) * a.D + x] = sums.acc[i] * (1.0f / sums.l[u]);
    if (x == 0 && a.lse != nullptr)
      a.lse[row * a.ld_lse + head] = static_cast<float>(sums.m[u] + log(static_cast<double>(sums.l[u])));
  }
}

// Grid: items x KV [x splits, with `apart`: sums of each then go to memory for merge_kernel].
__global__ void __launch_bounds__(kThreads) attend_kernel(Forward a, float* apart) {
  const Block b = block_of(a, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y));
  if (apart != nullptr && static_cast<int>(blockIdx.z) >= b.item.splits) return;
  const int D = a.D, tid = static_cast<int>(threadIdx.x);
  const Shared s(shared_memory<float>(), a.max_queries, D);
  float* factor = shared_memory<float>() + Shared::floats(a.max_queries, D);
  for (int i = tid; i < b.n * D; i += kThreads) {
    const int u = i / D, head = b.kv * b.group + u % b.group;
    s.q[i] = a.q[(b.seg.row0 + b.item.row + u / b.group) * a.ld_q + static_cast<int64_t>(head) * D + i % D] * a.scale;
  }
  const Sums total(s.total, b.n, D), next(s.next, b.n, D);
  if (apart == nullptr) {
    for (int split = 0; split < b.item.splits; ++split) {
      attend_split(a, b, split, s, split > 0 ? next : total, factor);
      if (split > 0) merge_split(b, split, D, total, next);
    }
    write_output(a, b, total);
    return;
  }
  attend_split(a, b, static_cast<int>(blockIdx.z), s, total, factor);
  const int64_t at = (static_cast<int64_t>(blockIdx.x) * a.KV + b.kv) * a.max_splits + blockIdx.z;
  float* to = apart + at * sums_floats(a.max_queries, D);
  for (int64_t i = tid; i < sums_floats(b.n, D); i += kThreads) to[i] = s.total[i];
}

__global__ void __launch_bounds__(kThreads) merge_kernel(Forward a, float* apart) {
  const Block b = block_of(a, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y));
  const int64_t stride = sums_floats(a.max_queries, a.D);
  float* first = apart + (static_cast<int64_t>(blockIdx.x) * a.KV + b.kv) * a.max_splits * stride;
  const Sums total(first, b.n, a.D);
  for (int split = 1; split < b.item.splits; ++split)
    merge_split(b, split, a.D, total, Sums(first + split * stride, b.n, a.D));
  write_output(a, b, total);
}

// Grid: rows x KV. New keys and values into their pages.
__global__ void append_kernel(Forward a, int segment_count) {
  const int64_t row = blockIdx.x, kv = blockIdx.y;
  int low = 0, high = segment_count - 1;
  while (low < high) {
    const int mid = (low + high + 1) / 2;
    if (a.segments[mid].row0 <= row)
      low = mid;
    else
      high = mid - 1;
  }
  const Segment seg = a.segments[low];
  const int64_t pos = seg.pos0 + (row - seg.row0), page = a.page_table[seg.slot * a.max_pages + pos / kTile];
  const int64_t to = ((page * a.KV + kv) * kTile + pos % kTile) * a.D;
  for (int x = static_cast<int>(threadIdx.x); x < a.D; x += static_cast<int>(blockDim.x)) {
    a.cache_k[to + x] = a.k[row * a.ld_k + kv * a.D + x];
    a.cache_v[to + x] = a.v[row * a.ld_v + kv * a.D + x];
  }
}

// Of the segments of a plan, whose keys and values are in place.
void attend(Forward a, const AttentionPlan& plan, State& state) {
  State::Frame frame(state);
  a.items = state.upload(std::span<const AttentionItem>(plan.items));
  a.max_queries = plan.max_queries, a.max_splits = plan.max_splits;
  const size_t shared = static_cast<size_t>(Shared::floats(plan.max_queries, a.D) + plan.max_queries) * sizeof(float);
  FULMEN_CHECK(shared <= static_cast<size_t>(state.shared_limit()),
               "attention_forward: " + std::to_string(a.H / a.KV) + " query heads per KV head of width " +
                   std::to_string(a.D) + " need " + std::to_string(shared) + " bytes of shared memory, this GPU has " +
                   std::to_string(state.shared_limit()));
  dim3 grid(static_cast<unsigned>(plan.items.size()), static_cast<unsigned>(a.KV), 1);
  if (!splits_apart(plan, a.KV, a.D)) {
    launch(state, "attention_forward", attend_kernel, grid, kThreads, shared, a, nullptr);
    return;
  }
  auto* apart = frame.take<float>(static_cast<int64_t>(plan.items.size()) * a.KV * plan.max_splits *
                                  sums_floats(plan.max_queries, a.D));
  grid.z = static_cast<unsigned>(plan.max_splits);
  launch(state, "attention_forward: splits", attend_kernel, grid, kThreads, shared, a, apart);
  grid.z = 1;
  launch(state, "attention_forward: merge", merge_kernel, grid, kThreads, 0, a, apart);
}

// Prefill and decode rows at the same time, once all keys and values are in their pages: the decode rows' splits then
// get blocks of their own however many blocks the prefill has.
void forward(Forward a, const AttentionForward& f, State& state) {
  State::Frame frame(state);
  a.segments = state.upload(f.segments);
  if (a.cache_k != nullptr)
    launch(state, "attention_forward: append", append_kernel,
           dim3(static_cast<unsigned>(f.q.dim[0]), static_cast<unsigned>(a.KV)), 64, 0, a,
           static_cast<int>(f.segments.size()));
  const ApartPlans plans = plan_apart(f.segments, a.H / a.KV, a.cache_k != nullptr);
  const auto decode = [&] { attend(a, plans.decode, state); };
  const auto rest = [&] { attend(a, plans.rest, state); };
  if (plans.decode.items.empty() || plans.rest.items.empty()) return plans.decode.items.empty() ? rest() : decode();
  state.together(decode, rest);
}

}  // namespace

void attention_forward(const AttentionForward& f, Context& ctx) {
  if ((f.cache != nullptr ? f.cache->kv : f.kv) == DType::kBf16) return attention_forward_bf16(f, state_of(ctx));
  Forward a{};
  a.q = f.q.f32(), a.k = f.k.f32(), a.v = f.v.f32(), a.o = f.o.f32(), a.lse = f.lse.f32();
  a.ld_q = f.q.ld, a.ld_k = f.k.ld, a.ld_v = f.v.ld, a.ld_o = f.o.ld, a.ld_lse = f.lse.ld;
  a.H = f.H, a.KV = f.KV, a.D = f.D, a.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(f.D)));
  if (f.cache != nullptr) {
    a.cache_k = static_cast<float*>(f.cache->k), a.cache_v = static_cast<float*>(f.cache->v);
    a.max_pages = f.cache->max_pages;
    a.page_table = f.cache->device_page_table;
    FULMEN_CHECK(a.page_table != nullptr, "attention_forward: the cache has no page table on the device");
  }
  forward(a, f, state_of(ctx));
}

}  // namespace fulmen::kernels::cuda
