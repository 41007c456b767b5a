// Forward of softmax attention in bf16 on the tensor cores (attention_mma.cuh). Two kernels with one order: 64 queries,
// 16 a warp (prefill, learner), or up to 16 whose keys and columns the warps share, a block per split (decode). Keys
// and values come straight from the cache's pages, the next tile while this one is multiplied.

#include <cmath>

#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

using Forward = AttentionForwardBf16;

constexpr int kThreads = 128;
constexpr int kScoreLd = kKeyTile + 8;
constexpr int kTilesPerSplit = kAttentionSplit / kAttentionTile;

size_t many_bytes(int D) { return sizeof(uint16_t) * (kManyQueries + 4 * kKeyTile) * (static_cast<size_t>(D) + 8); }
size_t few_bytes(int D) {
  return sizeof(uint16_t) * (kFewQueries + 4 * kKeyTile) * (static_cast<size_t>(D) + 8) +
         sizeof(float) * kFewQueries * kScoreLd;
}
__host__ __device__ int64_t few_floats(int D) { return int64_t{kFewQueries} * (D + 2); }  // m, l, acc of a split

// Grid: rows. k and v of a row into their pages, or to the rows that stand for them.
__global__ void place_kernel(Forward a, int segment_count) {
  const int64_t row = blockIdx.x;
  int low = 0, high = segment_count - 1;
  while (low < high) {
    const int mid = (low + high + 1) / 2;
    if (a.segments[mid].row0 <= row)
      low = mid;
    else
      high = mid - 1;
  }
  const Segment seg = a.segments[low];
  const int64_t pos = seg.pos0 + (row - seg.row0);
  for (int i = static_cast<int>(threadIdx.x); i < a.KV * a.D / 4; i += static_cast<int>(blockDim.x)) {
    const int kv = i * 4 / a.D, x = i * 4 % a.D;
    const int64_t to = key_rows(a, seg, kv, pos).at + x;
    store_four_bf16(a.keys + to, load_four(a.k + row * a.ld_k + i * 4, a.wide));
    store_four_bf16(a.values + to, load_four(a.v + row * a.ld_v + i * 4, a.wide));
  }
}

// s of 16 queries against the 16 keys from j on, added to d.
__device__ void score_pair(float (&d)[2][4], const uint16_t* q, const uint16_t* k, int j, int ld, int D) {
  for (int x = 0; x < D; x += 16) {
    uint32_t a[4], b[4];
    a_rows(a, q + x, ld);
    b_columns(b, k + j * ld + x, ld);
    mma_pair(d, a, b);
  }
}

__device__ void score_tile(float (&s)[8][4], const uint16_t* q, const uint16_t* k, int ld, int D) {
  FULMEN_UNROLL
  for (int n = 0; n < 32; ++n) s[n / 4][n % 4] = 0;
  for (int x = 0; x < D; x += 16) {
    uint32_t a[4], b[4];
    a_rows(a, q + x, ld);
    FULMEN_UNROLL
    for (int j = 0; j < 4; ++j) {
      b_columns(b, k + j * 16 * ld + x, ld);
      const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
      mma_bf16(s[2 * j], a, left);
      mma_bf16(s[2 * j + 1], a, right);
    }
  }
}

// acc = acc f + p v for the pairs of columns first, first + step, ...
template <int kPairs>
__device__ void add_values(RowSums<kPairs>& sums, const float (&factor)[2], const uint32_t (&p)[4][4],
                           const uint16_t* v, int first, int step, int ld, int D) {
  sums.each([&](float& value, int r) { value = value * factor[r]; });
  FULMEN_UNROLL
  for (int i = 0; i < kPairs; ++i) {
    const int c = first + i * step;
    if (c >= D) break;
    FULMEN_UNROLL
    for (int j = 0; j < 4; ++j) {
      uint32_t b[4];
      b_rows(b, v + j * 16 * ld + c, ld);
      mma_pair(sums.acc[i], p[j], b);
    }
  }
}

// The rows of a thread: queries first + g and first + g + 8.
struct Rows {
  int64_t keys[2], row[2];  // keys that it sees; row of the batch
  int head[2];
  bool live[2];
};
__device__ Rows rows_of(const Forward& a, const Segment& seg, int kv, const QueryItem& item, int from) {
  Rows r{};
  FULMEN_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int u = from + lane_id() / 4 + 8 * i, f = item.first + (u < item.count ? u : item.count - 1);
    r.live[i] = u < item.count;
    r.row[i] = seg.row0 + f / a.group;
    r.head[i] = kv * a.group + f % a.group;
    r.keys[i] = static_cast<int64_t>(seg.pos0) + f / a.group + 1;
  }
  return r;
}

template <int kPairs>
__device__ void write_output(const Forward& a, const Rows& rows, const RowSums<kPairs>& sums, int first, int step) {
  const int t = lane_id() % 4;
  FULMEN_UNROLL
  for (int r = 0; r < 2; ++r) {
    if (!rows.live[r]) continue;
    const float inverse = 1.0f / sums.l[r];
    float* o = a.o + rows.row[r] * a.ld_o + static_cast<int64_t>(rows.head[r]) * a.D;
    FULMEN_UNROLL
    for (int i = 0; i < kPairs; ++i) FULMEN_UNROLL
    for (int n = 0; n < 2; ++n) {
      const int c = first + i * step + n * 8 + 2 * t;
      if (c >= a.D) continue;
      store_two(o + c, sums.acc[i][n][2 * r] * inverse, sums.acc[i][n][2 * r + 1] * inverse, a.wide);
    }
    if (t == 0 && first == 0) write_lse(a, rows.row[r], rows.head[r], sums.m[r], sums.l[r]);
  }
}

// Grid: items x KV. At D = 128: 87 KB of shared memory, two blocks a multiprocessor.
template <int kD>
__global__ void __launch_bounds__(kThreads, kD <= 128 ? 2 : 1) many_kernel(Forward a, const QueryItem* items) {
  constexpr int kPairs = kD / 16;
  const QueryItem item = items[blockIdx.x];
  const Segment seg = a.segments[item.segment];
  const int kv = static_cast<int>(blockIdx.y), D = a.D, ld = D + 8;
  auto* q = shared_memory<uint16_t>();
  uint16_t* const tiles = q + kManyQueries * ld;
  const int64_t end = static_cast<int64_t>(seg.pos0) + (item.first + item.count - 1) / a.group + 1;
  const Rows rows = rows_of(a, seg, kv, item, warp_id() * 16);
  const int last = item.first + (warp_id() * 16 + 16 < item.count ? warp_id() * 16 + 16 : item.count) - 1;
  const int64_t warp_end = static_cast<int64_t>(seg.pos0) + last / a.group + 1;  // of what the warp sees
  fetch_tile<kThreads>(a, seg, kv, 0, end, tiles, ld);
  load_queries<kThreads>(a, seg, kv, item.first, item.count, kManyQueries, q, ld);
  RowSums<kPairs> sums;
  SetAside<kPairs> before;
  const int zero = a.D < 0;
  const auto close_split = [&](int64_t split) {
    const int64_t begin = split * kAttentionSplit;
    const bool reached[2] = {rows.keys[0] > begin, rows.keys[1] > begin};
    if (split > 0) before.merge_into(sums, reached, zero);
  };
  const int64_t count = (end + kKeyTile - 1) / kKeyTile;
  for (int64_t tile = 0; tile < count; ++tile) {
    const int64_t t0 = tile * kKeyTile;
    uint16_t* const k = tiles + tile % 2 * 2 * kKeyTile * ld;
    copies_wait<0>();
    __syncthreads();  // the tile is there, and no warp still reads the one before
    if (tile + 1 < count)
      fetch_tile<kThreads>(a, seg, kv, t0 + kKeyTile, end, tiles + (tile + 1) % 2 * 2 * kKeyTile * ld, ld);
    if (tile > 0 && tile % kTilesPerSplit == 0) {
      close_split(tile / kTilesPerSplit - 1);
      before.put(sums, zero);
      sums = RowSums<kPairs>{};
    }
    if (warp_end <= t0) continue;
    float s[8][4], factor[2];
    uint32_t p[4][4];
    score_tile(s, q + warp_id() * 16 * ld, k, ld, D);
    const int visible[2] = {visible_keys(rows.keys[0], t0), visible_keys(rows.keys[1], t0)};
    weigh(s, visible, a.scale, sums, factor, p);
    add_values(sums, factor, p, k + kKeyTile * ld, 0, 16, ld, D);
  }
  close_split((count - 1) / kTilesPerSplit);
  write_output(a, rows, sums, 0, 16);
}

// Grid: items x KV x splits; `apart` null if an item has one split. Warp w does keys 16w .. of every tile and every
// fourth 16 columns of the output. At D = 128: 79 KB, two blocks a multiprocessor, 70 KB of keys on their way in each.
template <int kD>
__global__ void __launch_bounds__(kThreads, kD <= 128 ? 2 : 1)
    few_kernel(Forward a, const QueryItem* items, float* apart) {
  constexpr int kPairs = kD / 64;
  const QueryItem item = items[blockIdx.x];
  const int split = static_cast<int>(blockIdx.z);
  if (split >= item.splits) return;
  const Segment seg = a.segments[item.segment];
  const int kv = static_cast<int>(blockIdx.y), D = a.D, ld = D + 8, g = lane_id() / 4, t = lane_id() % 4;
  auto* scores = shared_memory<float>();
  auto* q = reinterpret_cast<uint16_t*>(scores + kFewQueries * kScoreLd);
  uint16_t* const tiles = q + kFewQueries * ld;
  const int64_t end = static_cast<int64_t>(seg.pos0) + (item.first + item.count - 1) / a.group + 1;
  const Rows rows = rows_of(a, seg, kv, item, 0);
  const int64_t begin = static_cast<int64_t>(split) * kAttentionSplit;
  const int64_t stop = end - begin < kAttentionSplit ? end : begin + kAttentionSplit;
  fetch_tile<kThreads>(a, seg, kv, begin, end, tiles, ld);
  load_queries<kThreads>(a, seg, kv, item.first, item.count, kFewQueries, q, ld);
  RowSums<kPairs> sums;
  for (int64_t t0 = begin; t0 < stop; t0 += kKeyTile) {
    const int64_t stage = (t0 - begin) / kKeyTile % 2;
    uint16_t* const k = tiles + stage * 2 * kKeyTile * ld;
    copies_wait<0>();
    __syncthreads();
    if (t0 + kKeyTile < stop)
      fetch_tile<kThreads>(a, seg, kv, t0 + kKeyTile, end, tiles + (1 - stage) * 2 * kKeyTile * ld, ld);
    float mine[2][4] = {}, s[8][4], factor[2];
    score_pair(mine, q, k, warp_id() * 16, ld, D);
    FULMEN_UNROLL
    for (int n = 0; n < 4; ++n)
      store_two(scores + (g + n % 2 * 8) * kScoreLd + warp_id() * 16 + n / 2 * 8 + 2 * t, mine[n / 2][n % 2 * 2],
                mine[n / 2][n % 2 * 2 + 1], true);
    __syncthreads();
    FULMEN_UNROLL
    for (int n = 0; n < 16; ++n) {
      const auto two = *reinterpret_cast<const float2*>(scores + (g + n % 2 * 8) * kScoreLd + n / 2 * 8 + 2 * t);
      s[n / 2][n % 2 * 2] = two.x;
      s[n / 2][n % 2 * 2 + 1] = two.y;
    }
    uint32_t p[4][4];
    const int visible[2] = {visible_keys(rows.keys[0], t0), visible_keys(rows.keys[1], t0)};
    weigh(s, visible, a.scale, sums, factor, p);
    add_values(sums, factor, p, k + kKeyTile * ld, warp_id() * 16, 64, ld, D);
  }
  if (apart == nullptr) return write_output(a, rows, sums, warp_id() * 16, 64);
  float* to = apart + ((static_cast<int64_t>(blockIdx.x) * a.KV + kv) * gridDim.z + split) * few_floats(D);
  FULMEN_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int u = g + 8 * r;
    if (warp_id() == 0 && t == 0) to[u] = sums.m[r], to[kFewQueries + u] = sums.l[r];
    FULMEN_UNROLL
    for (int i = 0; i < kPairs; ++i) FULMEN_UNROLL
    for (int n = 0; n < 4; ++n) {
      const int c = warp_id() * 16 + i * 64 + n / 2 * 8 + 2 * t + n % 2;
      if (c < D) to[2 * kFewQueries + u * D + c] = sums.acc[i][n / 2][2 * r + n % 2];
    }
  }
}

// Grid: items x KV. The splits of an item in order, as SetAside does.
__global__ void __launch_bounds__(kThreads)
    merge_kernel(Forward a, const QueryItem* items, const float* apart, int max_splits) {
  const QueryItem item = items[blockIdx.x];
  const Segment seg = a.segments[item.segment];
  const int kv = static_cast<int>(blockIdx.y), D = a.D;
  const float* first = apart + (static_cast<int64_t>(blockIdx.x) * a.KV + kv) * max_splits * few_floats(D);
  for (int i = static_cast<int>(threadIdx.x); i < item.count * D; i += kThreads) {
    const int u = i / D, c = i % D, f = item.first + u, head = kv * a.group + f % a.group;
    const int64_t row = seg.row0 + f / a.group, keys = static_cast<int64_t>(seg.pos0) + f / a.group + 1;
    float m = first[u], l = first[kFewQueries + u], acc = first[2 * kFewQueries + i];
    for (int split = 1; static_cast<int64_t>(split) * kAttentionSplit < keys; ++split) {
      const float* next = first + split * few_floats(D);
      const float top = larger(m, next[u]), x = power_of_two(m - top), y = power_of_two(next[u] - top);
      l = fma32(l, x, next[kFewQueries + u] * y);
      acc = fma32(acc, x, next[2 * kFewQueries + i] * y);
      m = top;
    }
    a.o[row * a.ld_o + static_cast<int64_t>(head) * D + c] = acc * (1.0f / l);
    if (c == 0) write_lse(a, row, head, m, l);
  }
}

template <int kD>
void forward_few(const Forward& a, const QueryPlan& plan, State& state) {
  State::Frame frame(state);
  const auto KV = static_cast<unsigned>(a.KV);
  const QueryItem* items = state.upload(std::span<const QueryItem>(plan.few));
  const auto blocks = static_cast<unsigned>(plan.few.size());
  float* apart = nullptr;
  if (plan.few_splits > 1)
    apart = frame.take<float>(static_cast<int64_t>(blocks) * a.KV * plan.few_splits * few_floats(a.D));
  launch(state, "attention_forward: few queries", few_kernel<kD>,
         dim3(blocks, KV, static_cast<unsigned>(plan.few_splits)), kThreads, few_bytes(a.D), a, items, apart);
  if (apart != nullptr)
    launch(state, "attention_forward: merge", merge_kernel, dim3(blocks, KV), kThreads, 0, a, items, apart,
           plan.few_splits);
}

// Prefill and decode rows at the same time: short ones share what long ones leave of the GPU.
template <int kD>
void forward(const Forward& a, const QueryPlan& plan, State& state) {
  const auto KV = static_cast<unsigned>(a.KV);
  const auto many = [&] {
    launch(state, "attention_forward: many queries", many_kernel<kD>, dim3(static_cast<unsigned>(plan.many.size()), KV),
           kThreads, many_bytes(a.D), a, state.upload(std::span<const QueryItem>(plan.many)));
  };
  const auto few = [&] { forward_few<kD>(a, plan, state); };
  if (plan.few.empty() || plan.many.empty()) return plan.few.empty() ? many() : few();
  state.together(few, many);
}

}  // namespace

void attention_forward_bf16(const AttentionForward& f, State& state) {
  State::Frame frame(state);
  Forward a{};
  a.q = f.q.f32(), a.k = f.k.f32(), a.v = f.v.f32(), a.o = f.o.f32(), a.lse = f.lse.f32();
  a.ld_q = f.q.ld, a.ld_k = f.k.ld, a.ld_v = f.v.ld, a.ld_o = f.o.ld, a.ld_lse = f.lse.ld;
  a.H = f.H, a.KV = f.KV, a.D = f.D, a.group = f.H / f.KV;
  a.scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(f.D)));
  a.wide = wide_rows(a.q, a.ld_q) && wide_rows(a.k, a.ld_k) && wide_rows(a.v, a.ld_v) && wide_rows(a.o, a.ld_o);
  if (f.cache != nullptr) {
    a.keys = static_cast<uint16_t*>(f.cache->k), a.values = static_cast<uint16_t*>(f.cache->v);
    a.page_table = f.cache->device_page_table, a.max_pages = f.cache->max_pages;
    FULMEN_CHECK(a.page_table != nullptr, "attention_forward: the cache has no page table on the device");
  } else {
    const int64_t values = f.q.dim[0] * a.KV * a.D;
    a.keys = frame.take<uint16_t>(values), a.values = frame.take<uint16_t>(values);
  }
  a.segments = state.upload(f.segments);
  launch(state, "attention_forward: place", place_kernel, dim3(static_cast<unsigned>(f.q.dim[0])), 128, 0, a,
         static_cast<int>(f.segments.size()));
  const QueryPlan plan = plan_queries(f.segments, a.group);
  a.D <= 64 ? forward<64>(a, plan, state) : a.D <= 128 ? forward<128>(a, plan, state) : forward<256>(a, plan, state);
}

}  // namespace fulmen::kernels::cuda
