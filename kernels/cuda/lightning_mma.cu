// Lightning attention in bf16 on the tensor cores (lightning_mma.cuh): learner, prefill, decode and the gradients.

#include "kernels/cuda/entries.h"
#include "kernels/cuda/lightning_mma.cuh"
#include "kernels/cuda/lightning_plan.h"

namespace fulmen::kernels::cuda {
namespace {

struct Forward {
  const float* qkv;
  float* o;
  const float* pw;
  int64_t ld_qkv, ld_o;
  int H, D, slices;
  bool wide;
  float* state;  // null without a cache
  uint16_t *k, *v;

  __device__ __host__ int heads() const { return H; }
};

__device__ HeadCache cache_of(const Forward& a, int32_t slot, int h) {
  const int64_t i = static_cast<int64_t>(slot) * a.H + h;
  return {a.state + i * a.D * a.D, a.k + i * kBlock * a.D, a.v + i * kBlock * a.D};
}

template <int kThreads>
__device__ void load_decay(const LightningTiles& m, const float* pw, int h) {
  for (int i = static_cast<int>(threadIdx.x); i <= kBlock; i += kThreads) m.pw[i] = pw[h * (kBlock + 1) + i];
}

// What a block of a grid of segments x H x slices does.
struct Part {
  Segment seg;
  int h, c0, columns;
};
__device__ Part part_of(const Segment* segments, int H, int D, int slices) {
  const int i = static_cast<int>(blockIdx.x), slice = i % slices, c0 = slice * kSliceMma;
  return {segments[i / slices / H], i / slices % H, c0, D - c0 < kSliceMma ? D - c0 : kSliceMma};
}

__device__ HeadInput input_of(const Forward& a, const Part& part) {
  const float* q = a.qkv + part.seg.row0 * a.ld_qkv + static_cast<int64_t>(part.h) * 3 * a.D;
  float* o = a.o + part.seg.row0 * a.ld_o + static_cast<int64_t>(part.h) * a.D + part.c0;
  return {q, q + a.D, q + 2 * a.D + part.c0, o, a.ld_qkv, a.ld_qkv, a.ld_qkv, a.ld_o, a.wide};
}

// Grid: segments x H x slices.
template <int kD, int kRowTiles>
__global__ void __launch_bounds__(kThreadsOf<kRowTiles>, kD <= 128 ? 2 : 1)
    chunk_kernel(Forward a, const Segment* segments) {
  const Part part = part_of(segments, a.H, a.D, a.slices);
  const LightningTiles m(shared_bytes(), a.D);
  load_decay<kThreadsOf<kRowTiles>>(m, a.pw, part.h);
  HeadCache slot;
  if (a.state != nullptr) slot = cache_of(a, part.seg.slot, part.h);
  lightning_head_mma<kD, kRowTiles>(m, input_of(a, part), slot, part.c0, part.columns, a.D, part.seg.pos0,
                                    part.seg.rows, nullptr);
}

// ---- Whole sequences in parts: states of all groups first, then all groups at once.

// The input from row `first` on.
__device__ HeadInput further(HeadInput in, int64_t first) {
  in.q += first * in.ld_q, in.k += first * in.ld_k, in.v += first * in.ld_v, in.o += first * in.ld_o;
  return in;
}

// What a block of a grid of parts x heads x slices does; states (state, heads, D, D).
struct SplitPart {
  LightningPart part;
  int h, c0, columns;
};
__device__ SplitPart split_part_of(const LightningPart* parts, int heads, int D, int slices) {
  const int i = static_cast<int>(blockIdx.x), slice = i % slices, c0 = slice * kSliceMma;
  return {parts[i / slices / heads], i / slices % heads, c0, D - c0 < kSliceMma ? D - c0 : kSliceMma};
}

// Grid: walks x heads x slices. Few blocks: registers go to the rows on their way.
template <int kD, class Argument>
__global__ void __launch_bounds__(kThreadsOf<4>) walk_kernel(Argument a, const LightningPart* walks, float* states) {
  const SplitPart p = split_part_of(walks, a.heads(), a.D, a.slices);
  const LightningTiles m(shared_bytes(), a.D);
  load_decay<kThreadsOf<4>>(m, a.pw, p.h % a.H);
  const int64_t size = static_cast<int64_t>(a.D) * a.D;
  walk_states<kD>(m, input_of(a, {p.part.segment, p.h, p.c0, p.columns}), p.c0, p.columns, a.D, p.part.rows, kGroupRows,
                  states + p.part.state * a.heads() * size + p.h * size, a.heads() * size);
}

// Grid: parts x heads x slices.
template <int kD, class Argument>
__global__ void __launch_bounds__(kThreadsOf<4>, kD <= 128 ? 2 : 1)
    part_kernel(Argument a, const LightningPart* parts, const float* states) {
  const SplitPart p = split_part_of(parts, a.heads(), a.D, a.slices);
  const LightningTiles m(shared_bytes(), a.D);
  load_decay<kThreadsOf<4>>(m, a.pw, p.h % a.H);
  const HeadInput in = further(input_of(a, {p.part.segment, p.h, p.c0, p.columns}), p.part.first);
  const int64_t size = static_cast<int64_t>(a.D) * a.D;
  const float* begin = p.part.state < 0 ? nullptr : states + (p.part.state * a.heads() + p.h) * size;
  lightning_head_mma<kD, 4>(m, in, HeadCache{}, p.c0, p.columns, a.D, p.part.first, p.part.rows, begin);
}

// Grid: segments x H. The rows of the segment's last block go where the next call will look for them.
__global__ void append_kernel(Forward a, const Segment* segments) {
  const int h = static_cast<int>(blockIdx.x) % a.H;
  const Segment seg = segments[blockIdx.x / static_cast<unsigned>(a.H)];
  const HeadCache slot = cache_of(a, seg.slot, h);
  const int64_t end = static_cast<int64_t>(seg.pos0) + seg.rows, block = (end - 1) / kBlock * kBlock;
  const int64_t begin = block > seg.pos0 ? block : seg.pos0;
  const float* first = a.qkv + (seg.row0 + begin - seg.pos0) * a.ld_qkv + static_cast<int64_t>(h) * 3 * a.D;
  for (int64_t i = threadIdx.x; i < (end - begin) * (a.D / 4); i += blockDim.x) {
    const int64_t r = i / (a.D / 4), x = i % (a.D / 4) * 4, to = (begin + r - block) * a.D + x;
    store_four_bf16(slot.k + to, load_four(first + r * a.ld_qkv + a.D + x, a.wide));
    store_four_bf16(slot.v + to, load_four(first + r * a.ld_qkv + 2 * a.D + x, a.wide));
  }
}

// Grid: segments x H x slices, for decode rows that begin a block.
template <int kD>
__global__ void __launch_bounds__(kThreadsOf<4>) advance_kernel(Forward a, const Segment* segments) {
  const Part part = part_of(segments, a.H, a.D, a.slices);
  const LightningTiles m(shared_bytes(), a.D);
  load_decay<kThreadsOf<4>>(m, a.pw, part.h);
  const HeadCache slot = cache_of(a, part.seg.slot, part.h);
  load_kept<kThreadsOf<4>>(m, slot, kBlock, a.D, part.c0, part.columns);
  LightningState<kD, 4> state;
  const bool first = part.seg.pos0 == kBlock;
  if (!first) state.load(slot.state, a.D, part.c0, part.columns);
  __syncthreads();
  state.advance(m, a.D, first);
  state.store(slot.state, a.D, part.c0, part.columns);
}

constexpr int kDecodeThreads = 128;
constexpr int kWarpColumns = 32;  // of the state, for a warp

// Rows and columns change places: the state, K and V are the 16-row operand, straight from device memory and each read
// once, and the row is one live column of eight. Products commute, so the bits are those of the chunk kernel.
__device__ void one_column(uint32_t (&b)[2], const uint16_t* values) {
  const int g = lane_id() / 4, t = lane_id() % 4;
  const auto* words = reinterpret_cast<const uint32_t*>(values);
  b[0] = g == 0 ? words[t] : 0;
  b[1] = g == 0 ? words[t + 4] : 0;
}

// Weights of 16 tokens from j0 on.
__device__ void decode_weights(const HeadCache& slot, const uint16_t* q, const float* pw, int j0, int i0, int D,
                               uint16_t* p) {
  const int g = lane_id() / 4, t = lane_id() % 4;
  const auto* k = reinterpret_cast<const uint32_t*>(slot.k + (j0 + g) * D) + t;
  float sum[4] = {};
  for (int x = 0; x < D; x += 16) {
    const uint32_t a[4] = {k[x / 2], k[x / 2 + 4 * D], k[x / 2 + 4], k[x / 2 + 4 * D + 4]};
    uint32_t b[2];
    one_column(b, q + x);
    mma_bf16(sum, a, b);
  }
  if (t != 0) return;
  for (int n = 0; n < 2; ++n) {
    const int j = j0 + g + n * 8;
    p[j] = j <= i0 ? to_bf16(sum[n * 2] * pw[i0 - j]) : uint16_t{0};
  }
}

// sum[i]: columns 4g + i (d[0]) and 4g + 2 + i (d[2]) of the warp's 32, for the row that is column 0.
__device__ void state_product(float (&sum)[2][4], const float* state, const uint16_t* q, bool inside, int D) {
  const int t = lane_id() % 4;
  for (int x0 = 0; x0 < D; x0 += 64) {
    float4 s[4][4];  // all loads first
    FULMEN_UNROLL
    for (int n = 0; n < 16; ++n) {
      const int x = x0 + n / 4 * 16 + 2 * t + n % 2 + n / 2 % 2 * 8;
      s[n / 4][n % 4] = float4{0, 0, 0, 0};
      if (inside && x < D) s[n / 4][n % 4] = *reinterpret_cast<const float4*>(state + static_cast<int64_t>(x) * D);
    }
    FULMEN_UNROLL
    for (int n = 0; n < 4; ++n) {
      if (x0 + 16 * n >= D) break;
      uint32_t b[2];
      one_column(b, q + x0 + 16 * n);
      FULMEN_UNROLL
      for (int i = 0; i < 2; ++i) {
        uint32_t hi[4], lo[4];
        FULMEN_UNROLL
        for (int m = 0; m < 4; ++m) {  // rows g, g + 8; then the same 8 further along x
          const float4 &even = s[n][m / 2 * 2], &odd = s[n][m / 2 * 2 + 1];
          const float low = m % 2 == 0 ? (i == 0 ? even.x : even.y) : (i == 0 ? even.z : even.w);
          const float high = m % 2 == 0 ? (i == 0 ? odd.x : odd.y) : (i == 0 ? odd.z : odd.w);
          hi[m] = pack_bf16(low, high);
          lo[m] = pack_rest(low, high, hi[m]);
        }
        mma_bf16(sum[i], hi, b);
        mma_bf16(sum[i], lo, b);
      }
    }
  }
}

__device__ uint16_t part_of_word(uint2 v, int i) {
  const uint32_t w = i < 2 ? v.x : v.y;
  return static_cast<uint16_t>(i % 2 == 0 ? w : w >> 16);
}

__device__ void value_product(float (&sum)[2][4], const uint16_t* v, const uint16_t* p, bool inside, int i0, int D) {
  const int t = lane_id() % 4;
  for (int j0 = 0; j0 <= i0; j0 += 16) {
    uint2 rows[4];
    FULMEN_UNROLL
    for (int n = 0; n < 4; ++n) {
      const int j = j0 + 2 * t + n % 2 + n / 2 * 8;
      rows[n] = uint2{0, 0};
      if (inside && j <= i0) rows[n] = *reinterpret_cast<const uint2*>(v + static_cast<int64_t>(j) * D);
    }
    uint32_t b[2];
    one_column(b, p + j0);
    FULMEN_UNROLL
    for (int i = 0; i < 2; ++i) {
      uint32_t a[4];
      FULMEN_UNROLL
      for (int m = 0; m < 4; ++m)
        a[m] = pack(part_of_word(rows[m / 2 * 2], m % 2 * 2 + i), part_of_word(rows[m / 2 * 2 + 1], m % 2 * 2 + i));
      mma_bf16(sum[i], a, b);
    }
  }
}

// Grid: segments x H. Four warps, each 32 columns of the state at a time.
__global__ void __launch_bounds__(kDecodeThreads, 4) decode_kernel(Forward a, const Segment* segments) {
  const int h = static_cast<int>(blockIdx.x) % a.H, D = a.D, tid = static_cast<int>(threadIdx.x);
  const Segment seg = segments[blockIdx.x / static_cast<unsigned>(a.H)];
  const int i0 = seg.pos0 % kBlock;
  const HeadCache slot = cache_of(a, seg.slot, h);
  const float *in = a.qkv + seg.row0 * a.ld_qkv + static_cast<int64_t>(h) * 3 * D, *pw = a.pw + h * (kBlock + 1);
  uint16_t *q = shared_memory<uint16_t>(), *p = q + D;
  for (int x = tid; x < D; x += kDecodeThreads) {
    q[x] = to_bf16(in[x]);
    slot.k[i0 * D + x] = to_bf16(in[D + x]);
    slot.v[i0 * D + x] = to_bf16(in[2 * D + x]);
  }
  __syncthreads();
  if (warp_id() * 16 <= i0) decode_weights(slot, q, pw, warp_id() * 16, i0, D, p);
  __syncthreads();
  const int g = lane_id() / 4, t = lane_id() % 4;
  for (int c0 = warp_id() * kWarpColumns; c0 < D; c0 += kDecodeThreads) {
    const int c = c0 + 4 * g;
    float sum[2][4] = {};
    if (seg.pos0 >= kBlock) {
      state_product(sum, slot.state + c, q, c < D, D);
      FULMEN_UNROLL
      for (int n = 0; n < 8; ++n) sum[n / 4][n % 4] = sum[n / 4][n % 4] * pw[i0 + 1];
    }
    value_product(sum, slot.v + c, p, c < D, i0, D);
    float* o = a.o + seg.row0 * a.ld_o + static_cast<int64_t>(h) * D + c;
    if (t == 0 && c < D) o[0] = sum[0][0], o[1] = sum[1][0], o[2] = sum[0][2], o[3] = sum[1][2];
  }
}

struct Backward {
  const float *qkv, *d_o, *pw;
  float* dqkv;
  int64_t ld_qkv, ld_do, ld_dqkv;
  int H, D, slices;
  bool wide;

  __device__ __host__ int heads() const { return 3 * H; }  // gradient * H + head
};

// Every gradient is again a lightning attention with the same decays (kernels/cpu/lightning_backward.cc): dq with q, k,
// v = g, v, k; dk and dv on the reversed sequence with v, g, q and k, q, g.
__device__ HeadInput input_of(const Backward& a, const Part& part) {
  const int h = part.h % a.H, which = part.h / a.H, D = a.D;
  const bool reverse = which != 0;
  const int64_t first = reverse ? part.seg.row0 + part.seg.rows - 1 : part.seg.row0, sign = reverse ? -1 : 1;
  const int64_t ld = sign * a.ld_qkv, ld_g = sign * a.ld_do, ld_out = sign * a.ld_dqkv;
  const float *q = a.qkv + first * a.ld_qkv + static_cast<int64_t>(h) * 3 * D, *k = q + D, *v = k + D;
  const float* g = a.d_o + first * a.ld_do + static_cast<int64_t>(h) * D;
  float* out = a.dqkv + first * a.ld_dqkv + (static_cast<int64_t>(h) * 3 + which) * D + part.c0;
  if (which == 0) return {g, v, k + part.c0, out, ld_g, ld, ld, ld_out, a.wide};
  if (which == 1) return {v, g, q + part.c0, out, ld, ld_g, ld, ld_out, a.wide};
  return {k, q, g + part.c0, out, ld, ld, ld_g, ld_out, a.wide};
}

// Whole sequences, in parts where they are few.
template <int kD, class Argument>
void run_parts(const char* name, const Argument& a, std::span<const Segment> segments, State& state) {
  constexpr int64_t kMostBytes = int64_t{256} << 20;
  State::Frame frame(state);
  const int64_t size = static_cast<int64_t>(a.heads()) * a.D * a.D;
  const LightningSplit split =
      split_lightning(segments, static_cast<int64_t>(a.heads()) * a.slices, kMostBytes / 4 / size);
  const auto blocks = [&](const std::vector<LightningPart>& parts) {
    return dim3(static_cast<unsigned>(parts.size()) * static_cast<unsigned>(a.heads() * a.slices));
  };
  float* states = nullptr;
  if (!split.walks.empty()) {
    states = frame.take<float>(split.states * size);
    launch(state, "lightning: states", walk_kernel<kD, Argument>, blocks(split.walks), kThreadsOf<4>,
           LightningTiles::bytes(a.D), a, state.upload(std::span<const LightningPart>(split.walks)), states);
  }
  launch(state, name, part_kernel<kD, Argument>, blocks(split.parts), kThreadsOf<4>, LightningTiles::bytes(a.D), a,
         state.upload(std::span<const LightningPart>(split.parts)), states);
}

template <int kD>
void forward(const Forward& a, const LightningPlan& plan, State& state) {
  const size_t shared = LightningTiles::bytes(a.D);
  const auto heads = [&](const std::vector<Segment>& list) {
    return static_cast<unsigned>(list.size()) * static_cast<unsigned>(a.H);
  };
  const auto slices = static_cast<unsigned>(a.slices);
  const auto prefill = [&](const char* name, const std::vector<Segment>& list, auto kernel, int threads) {
    if (list.empty()) return;
    const Segment* segments = state.upload(std::span<const Segment>(list));
    launch(state, name, kernel, dim3(heads(list) * slices), threads, shared, a, segments);
    if (a.state != nullptr)
      launch(state, "lightning_forward: append", append_kernel, dim3(heads(list)), 256, 0, a, segments);
  };
  const auto blocks = [&] {
    if (a.state == nullptr && !plan.pieces.empty())
      run_parts<kD>("lightning_forward: sequences", a, plan.pieces, state);
    else
      prefill("lightning_forward: blocks", plan.pieces, chunk_kernel<kD, 4>, kThreadsOf<4>);
    prefill("lightning_forward: few rows", plan.few, chunk_kernel<kD, 1>, kThreadsOf<1>);
  };
  const auto single = [&] {
    if (!plan.filled.empty())
      launch(state, "lightning_forward: advance", advance_kernel<kD>, dim3(heads(plan.filled) * slices), kThreadsOf<4>,
             shared, a, state.upload(std::span<const Segment>(plan.filled)));
    launch(state, "lightning_forward: decode", decode_kernel, dim3(heads(plan.decode)), kDecodeThreads,
           (static_cast<size_t>(a.D) + kBlock) * sizeof(uint16_t), a,
           state.upload(std::span<const Segment>(plan.decode)));
  };
  if (plan.decode.empty()) return blocks();
  plan.decode.size() == plan.segments() ? single() : state.together(single, blocks);
}

int slices_of(int D) { return (D + kSliceMma - 1) / kSliceMma; }

}  // namespace

void lightning_forward_bf16(const LightningForward& f, State& state) {
  Forward a{f.qkv.f32(), f.o.f32(), f.pw, f.qkv.ld, f.o.ld, f.H, f.D, slices_of(f.D), false, nullptr, nullptr, nullptr};
  a.wide = wide_rows(a.qkv, a.ld_qkv) && wide_rows(a.o, a.ld_o);
  if (f.cache != nullptr) {
    a.state = f.cache->state;
    a.k = static_cast<uint16_t*>(f.cache->k), a.v = static_cast<uint16_t*>(f.cache->v);
  }
  const LightningPlan plan = plan_lightning(f.segments, f.cache != nullptr);
  a.D <= 64 ? forward<64>(a, plan, state) : a.D <= 128 ? forward<128>(a, plan, state) : forward<256>(a, plan, state);
}

void lightning_backward_bf16(const LightningBackward& b, State& state) {
  Backward a{b.qkv.f32(), b.d_o.f32(), b.pw, b.dqkv.f32(),   b.qkv.ld, b.d_o.ld,
             b.dqkv.ld,   b.H,         b.D,  slices_of(b.D), false};
  a.wide = wide_rows(a.qkv, a.ld_qkv) && wide_rows(a.d_o, a.ld_do) && wide_rows(a.dqkv, a.ld_dqkv);
  const char* name = "lightning_backward";
  a.D <= 64    ? run_parts<64>(name, a, b.segments, state)
  : a.D <= 128 ? run_parts<128>(name, a, b.segments, state)
               : run_parts<256>(name, a, b.segments, state);
}

}  // namespace fulmen::kernels::cuda
