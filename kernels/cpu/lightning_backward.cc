// Every gradient of lightning attention is again a lightning attention with the same decays, so the forward's code
// computes them, state recomputation included, in constant memory and an order no thread count can change:
//   o_i  = sum_{j<=i} lam^(i-j) (q_i . k_j) v_j
//   dq_i = sum_{j<=i} lam^(i-j) (g_i . v_j) k_j      forward with  q, k, v = g, v, k
//   dk_j = sum_{i>=j} lam^(i-j) (v_j . g_i) q_i      forward on the reversed sequence with  v, g, q
//   dv_j = sum_{i>=j} lam^(i-j) (k_j . q_i) g_i      forward on the reversed sequence with  k, q, g

#include "kernels/cpu/entries.h"
#include "kernels/cpu/lightning_rows.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

enum Gradient { kDq, kDk, kDv, kGradients };

// The three inputs may have different row strides (d_o is a tensor of its own), so a block of each is gathered first.
struct Strided {
  const float* p;
  ptrdiff_t ld;
};

HeadRows gather(Strided q, Strided k, Strided v, int64_t rows, int D, float* to) {
  const Strided from[3] = {q, k, v};
  for (int i = 0; i < 3; ++i)
    for (int64_t r = 0; r < rows; ++r) memcpy(to + (r * 3 + i) * D, from[i].p + r * from[i].ld, D * sizeof(float));
  return {to, to + D, to + 2 * D, nullptr, 3 * D, 0};
}

void run_gradient(const LightningBackward& a, const Segment& s, int h, Gradient which, float* scratch) {
  const int D = a.D;
  const bool reverse = which != kDq;
  const int64_t first = reverse ? s.row0 + s.rows - 1 : s.row0;
  const ptrdiff_t sign = reverse ? -1 : 1;
  const float* qkv = a.qkv.row(first) + (ptrdiff_t)h * 3 * D;
  const Strided q{qkv, sign * a.qkv.ld}, k{qkv + D, sign * a.qkv.ld}, v{qkv + 2 * D, sign * a.qkv.ld};
  const Strided g{a.d_o.row(first) + (ptrdiff_t)h * D, sign * a.d_o.ld};
  float* out = a.dqkv.row(first) + ((ptrdiff_t)h * 3 + which) * D;
  const ptrdiff_t ld_out = sign * a.dqkv.ld;

  float* state = scratch + rows_scratch_floats(D);
  float* panels = state + (size_t)D * D;
  const HeadSlot<float> slot{state, panels, panels + (size_t)kBlock * D};
  float* block = state + slot_floats(D);
  const Strided in[kGradients][3] = {{g, v, k}, {v, g, q}, {k, q, g}};
  for (int64_t pos = 0; pos < s.rows; pos += kBlock) {
    const int64_t n = s.rows - pos < kBlock ? s.rows - pos : kBlock;
    Strided x[3];
    for (int i = 0; i < 3; ++i) x[i] = {in[which][i].p + pos * in[which][i].ld, in[which][i].ld};
    HeadRows rows = gather(x[0], x[1], x[2], n, D, block);
    rows.o = out + pos * ld_out;
    rows.ld_o = ld_out;
    lightning_head(rows, slot, a.pw + (ptrdiff_t)h * (kBlock + 1), D, pos, n, scratch);
  }
}

}  // namespace

void lightning_backward(const LightningBackward& a, Context& ctx) {
  const size_t floats = rows_scratch_floats(a.D) + slot_floats(a.D) + (size_t)3 * kBlock * a.D;
  const int64_t per_segment = (int64_t)a.H * kGradients;
  ctx.pool->parallel_for((int64_t)a.segments.size() * per_segment, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = (float*)ctx.pool->scratch(thread, floats * sizeof(float));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t in_segment = i % per_segment;
      run_gradient(a, a.segments[i / per_segment], (int)(in_segment / kGradients), (Gradient)(in_segment % kGradients),
                   scratch);
    }
  });
}

}  // namespace fulmen::kernels::FULMEN_ISA
