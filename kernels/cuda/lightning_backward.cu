// Every gradient of lightning attention is again a lightning attention with the same decays (kernels/cpu/
// lightning_backward.cc): dq with q, k, v = g, v, k; dk and dv on the reversed sequence with v, g, q and k, q, g.

#include "kernels/cuda/entries.h"
#include "kernels/cuda/lightning_block.cuh"

namespace fulmen::kernels::cuda {
namespace {

struct Backward {
  const float *qkv, *d_o, *pw;
  float* dqkv;
  int64_t ld_qkv, ld_do, ld_dqkv;
  int H, D, slices;
};

// Grid: segments x H x 3 gradients x slices.
__global__ void __launch_bounds__(kLightningThreads) gradient_kernel(Backward a, const Segment* segments) {
  unsigned i = blockIdx.x;
  const int slice = static_cast<int>(i % static_cast<unsigned>(a.slices));
  i /= static_cast<unsigned>(a.slices);
  const int which = static_cast<int>(i % 3);
  i /= 3;
  const int h = static_cast<int>(i % static_cast<unsigned>(a.H)), D = a.D;
  const Segment seg = segments[i / static_cast<unsigned>(a.H)];
  const int c0 = slice * kSlice, columns = D - c0 < kSlice ? D - c0 : kSlice;
  const LightningShared s(shared_memory<float>(), D);
  for (int m = static_cast<int>(threadIdx.x); m <= kBlock; m += kLightningThreads) s.pw[m] = a.pw[h * (kBlock + 1) + m];

  const bool reverse = which != 0;
  const int64_t first = reverse ? seg.row0 + seg.rows - 1 : seg.row0, sign = reverse ? -1 : 1;
  const int64_t ld = sign * a.ld_qkv, ld_g = sign * a.ld_do;
  const float *q = a.qkv + first * a.ld_qkv + static_cast<int64_t>(h) * 3 * D, *k = q + D, *v = k + D;
  const float* g = a.d_o + first * a.ld_do + static_cast<int64_t>(h) * D;
  float* out = a.dqkv + first * a.ld_dqkv + (static_cast<int64_t>(h) * 3 + which) * D + c0;
  HeadRows rows{g, v, k + c0, out, ld_g, ld, ld, sign * a.ld_dqkv};
  if (which == 1) rows.q = v, rows.k = g, rows.v = q + c0, rows.ld_q = ld, rows.ld_k = ld_g, rows.ld_v = ld;
  if (which == 2) rows.q = k, rows.k = q, rows.v = g + c0, rows.ld_q = ld, rows.ld_k = ld, rows.ld_v = ld_g;
  lightning_head(s, rows, HeadSlot{}, c0, columns, D, 0, seg.rows);
}

}  // namespace

void lightning_backward(const LightningBackward& b, Context& ctx) {
  State& state = state_of(ctx);
  if (b.kv == DType::kBf16) return lightning_backward_bf16(b, state);
  const int slices = (b.D + kSlice - 1) / kSlice;
  const Backward a{b.qkv.f32(), b.d_o.f32(), b.pw, b.dqkv.f32(), b.qkv.ld, b.d_o.ld, b.dqkv.ld, b.H, b.D, slices};
  launch(state, "lightning_backward", gradient_kernel,
         dim3(static_cast<unsigned>(b.segments.size()) * static_cast<unsigned>(b.H * 3 * slices)), kLightningThreads,
         static_cast<size_t>(LightningShared::floats(b.D)) * sizeof(float), a, state.upload(b.segments));
}

}  // namespace fulmen::kernels::cuda
