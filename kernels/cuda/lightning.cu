// Forward of lightning attention in fp32 on the CUDA cores, with the bits of the CPU backend; lightning_mma.cu has
// bf16.

#include <vector>

#include "kernels/cuda/entries.h"
#include "kernels/cuda/lightning_block.cuh"
#include "kernels/cuda/lightning_plan.h"

namespace fulmen::kernels::cuda {
namespace {

struct Forward {
  const float* qkv;
  float* o;
  const float* pw;
  int64_t ld_qkv, ld_o;
  int H, D, slices;
  float* state;  // null without a cache
  float *k, *v;
};

__device__ int slice_columns(int D, int c0) { return D - c0 < kSlice ? D - c0 : kSlice; }

__device__ void load_decay(const LightningShared& s, const float* pw, int h) {
  for (int i = static_cast<int>(threadIdx.x); i <= kBlock; i += kLightningThreads) s.pw[i] = pw[h * (kBlock + 1) + i];
}

__device__ HeadSlot slot_of(const Forward& a, int32_t slot, int h) {
  const int64_t i = static_cast<int64_t>(slot) * a.H + h;
  return {a.state + i * a.D * a.D, a.k + i * kBlock * a.D, a.v + i * kBlock * a.D};
}

// Grid: segments x H x slices.
__global__ void __launch_bounds__(kLightningThreads) chunk_kernel(Forward a, const Segment* segments) {
  const int slice = static_cast<int>(blockIdx.x) % a.slices, h = static_cast<int>(blockIdx.x) / a.slices % a.H;
  const Segment seg = segments[blockIdx.x / static_cast<unsigned>(a.slices * a.H)];
  const int c0 = slice * kSlice, columns = slice_columns(a.D, c0);
  const LightningShared s(shared_memory<float>(), a.D);
  load_decay(s, a.pw, h);
  const float* q = a.qkv + seg.row0 * a.ld_qkv + static_cast<int64_t>(h) * 3 * a.D;
  const HeadRows rows{
      q,        q + a.D,  q + 2 * a.D + c0, a.o + seg.row0 * a.ld_o + static_cast<int64_t>(h) * a.D + c0,
      a.ld_qkv, a.ld_qkv, a.ld_qkv,         a.ld_o};
  HeadSlot slot;
  if (a.state != nullptr) slot = slot_of(a, seg.slot, h), slot.v += c0;
  lightning_head(s, rows, slot, c0, columns, a.D, seg.pos0, seg.rows);
}

// Grid: segments x H. The rows of the segment's last block go where the next call will look for them.
__global__ void append_kernel(Forward a, const Segment* segments) {
  const int h = static_cast<int>(blockIdx.x) % a.H;
  const Segment seg = segments[blockIdx.x / static_cast<unsigned>(a.H)];
  const HeadSlot slot = slot_of(a, seg.slot, h);
  const int64_t end = static_cast<int64_t>(seg.pos0) + seg.rows, block = (end - 1) / kBlock * kBlock;
  const int64_t begin = block > seg.pos0 ? block : seg.pos0;
  const float* first = a.qkv + (seg.row0 + begin - seg.pos0) * a.ld_qkv + static_cast<int64_t>(h) * 3 * a.D;
  for (int64_t i = threadIdx.x; i < (end - begin) * a.D; i += blockDim.x) {
    const int64_t r = i / a.D, x = i % a.D, to = (begin + r - block) * a.D + x;
    slot.k[to] = first[r * a.ld_qkv + a.D + x];
    slot.v[to] = first[r * a.ld_qkv + 2 * a.D + x];
  }
}

// Grid: segments x H x slices, for decode rows that begin a block.
__global__ void __launch_bounds__(kLightningThreads) advance_kernel(Forward a, const Segment* segments) {
  const int slice = static_cast<int>(blockIdx.x) % a.slices, h = static_cast<int>(blockIdx.x) / a.slices % a.H;
  const Segment seg = segments[blockIdx.x / static_cast<unsigned>(a.slices * a.H)];
  const int c0 = slice * kSlice, columns = slice_columns(a.D, c0);
  const LightningShared s(shared_memory<float>(), a.D);
  load_decay(s, a.pw, h);
  const HeadSlot slot = slot_of(a, seg.slot, h);
  const bool first = seg.pos0 == kBlock;
  for (int i = static_cast<int>(threadIdx.x); i < kBlock * a.D; i += kLightningThreads)
    s.k[i / a.D * s.ld + i % a.D] = slot.k[i];
  for (int i = static_cast<int>(threadIdx.x); i < kBlock * columns; i += kLightningThreads)
    s.v[i / columns * kSlice + i % columns] = slot.v[i / columns * a.D + c0 + i % columns];
  if (!first)
    for (int i = static_cast<int>(threadIdx.x); i < a.D * columns; i += kLightningThreads)
      s.state[i / columns * kSlice + i % columns] = slot.state[i / columns * a.D + c0 + i % columns];
  __syncthreads();
  advance_state(s, a.D, columns, first);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < a.D * columns; i += kLightningThreads)
    slot.state[i / columns * a.D + c0 + i % columns] = s.state[i / columns * kSlice + i % columns];
}

constexpr int kDecodeThreads = 128;

// Grid: segments x H. One row of a block: a thread per token for the scores, then per column for the output.
__global__ void __launch_bounds__(kDecodeThreads) decode_kernel(Forward a, const Segment* segments) {
  const int h = static_cast<int>(blockIdx.x) % a.H, D = a.D, ld = D + 1, tid = static_cast<int>(threadIdx.x);
  const Segment seg = segments[blockIdx.x / static_cast<unsigned>(a.H)];
  const int i0 = seg.pos0 % kBlock;
  const HeadSlot slot = slot_of(a, seg.slot, h);
  const float *in = a.qkv + seg.row0 * a.ld_qkv + static_cast<int64_t>(h) * 3 * D, *pw = a.pw + h * (kBlock + 1);
  float *q = shared_memory<float>(), *p = q + D, *k = p + kBlock;
  for (int x = tid; x < D; x += kDecodeThreads) {
    q[x] = in[x];
    k[i0 * ld + x] = in[D + x];
    slot.k[i0 * D + x] = in[D + x];
    slot.v[i0 * D + x] = in[2 * D + x];
  }
  for (int i = tid; i < i0 * D; i += kDecodeThreads) k[i / D * ld + i % D] = slot.k[i];
  __syncthreads();
  for (int j = tid; j <= i0; j += kDecodeThreads) {
    float sum = 0;
    for (int x = 0; x < D; ++x) sum = fma32(q[x], k[j * ld + x], sum);
    p[j] = sum * pw[i0 - j];
  }
  __syncthreads();
  float* o = a.o + seg.row0 * a.ld_o + static_cast<int64_t>(h) * D;
  for (int c = tid; c < D; c += kDecodeThreads) {
    float sum = 0;
    if (seg.pos0 >= kBlock) {
      for (int x = 0; x < D; ++x) sum = fma32(q[x], slot.state[x * D + c], sum);
      sum = sum * pw[i0 + 1];
    }
    for (int j = 0; j < i0; ++j) sum = fma32(p[j], slot.v[j * D + c], sum);
    o[c] = fma32(p[i0], in[2 * D + c], sum);
  }
}

// Grid: sequences x H. The plain recurrence, a thread per column of the state.
__global__ void recurrent_kernel(const float* qkv, int64_t ld_qkv, float* o, int64_t ld_o, const float* pw, int H,
                                 int D, float* state) {
  const int64_t b = blockIdx.x / static_cast<unsigned>(H), h = blockIdx.x % static_cast<unsigned>(H);
  const float *q = qkv + b * ld_qkv + h * 3 * D, decay = pw[h * (kBlock + 1) + 1];
  float* s = state + static_cast<int64_t>(blockIdx.x) * D * D;
  for (int c = static_cast<int>(threadIdx.x); c < D; c += kDecodeThreads) {
    const float v = q[2 * D + c];
    float sum = 0;
    for (int x = 0; x < D; ++x) {
      const float next = fma32(q[D + x], v, decay * s[x * D + c]);
      s[x * D + c] = next;
      sum = fma32(q[x], next, sum);
    }
    o[b * ld_o + h * D + c] = sum;
  }
}

void forward(const Forward& a, std::span<const Segment> segments, State& state) {
  LightningPlan plan = plan_lightning(segments, a.state != nullptr);
  std::vector<Segment>&prefill = plan.pieces, &decode = plan.decode, &filled = plan.filled;
  prefill.insert(prefill.end(), plan.few.begin(), plan.few.end());  // no tensor cores, no row tiles
  const auto heads = [&](const std::vector<Segment>& list) { return static_cast<unsigned>(list.size()) * a.H; };
  const size_t shared = static_cast<size_t>(LightningShared::floats(a.D)) * sizeof(float);
  const auto slices = static_cast<unsigned>(a.slices);
  const auto blocks = [&] {
    const Segment* list = state.upload(std::span<const Segment>(prefill));
    launch(state, "lightning_forward: blocks", chunk_kernel, dim3(heads(prefill) * slices), kLightningThreads, shared,
           a, list);
    if (a.state != nullptr)
      launch(state, "lightning_forward: append", append_kernel, dim3(heads(prefill)), kLightningThreads, 0, a, list);
  };
  const auto single = [&] {
    if (!filled.empty())
      launch(state, "lightning_forward: advance", advance_kernel, dim3(heads(filled) * slices), kLightningThreads,
             shared, a, state.upload(std::span<const Segment>(filled)));
    launch(state, "lightning_forward: decode", decode_kernel, dim3(heads(decode)), kDecodeThreads,
           static_cast<size_t>(a.D + kBlock + kBlock * (a.D + 1)) * sizeof(float), a,
           state.upload(std::span<const Segment>(decode)));
  };
  if (prefill.empty() || decode.empty()) return prefill.empty() ? single() : blocks();
  state.together(single, blocks);
}

}  // namespace

void lightning_forward(const LightningForward& f, Context& ctx) {
  if ((f.cache != nullptr ? f.cache->kv : f.kv) == DType::kBf16) return lightning_forward_bf16(f, state_of(ctx));
  Forward a{f.qkv.f32(), f.o.f32(), f.pw,   f.qkv.ld, f.o.ld, f.H, f.D, (f.D + kSlice - 1) / kSlice,
            nullptr,     nullptr,   nullptr};
  if (f.cache != nullptr) {
    a.state = f.cache->state;
    a.k = static_cast<float*>(f.cache->k), a.v = static_cast<float*>(f.cache->v);
  }
  forward(a, f.segments, state_of(ctx));
}

void lightning_recurrent_step(const LightningRecurrentStep& a, Context& ctx) {
  launch(state_of(ctx), "lightning_recurrent_step", recurrent_kernel, dim3(static_cast<unsigned>(a.qkv.dim[0] * a.H)),
         kDecodeThreads, 0, a.qkv.f32(), a.qkv.ld, a.o.f32(), a.o.ld, a.pw, a.H, a.D, a.state);
}

}  // namespace fulmen::kernels::cuda
