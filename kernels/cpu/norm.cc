#include <cmath>

#include "kernels/cpu/entries.h"
#include "kernels/cpu/row_loop.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int64_t kTermRows = 256;  // rows whose terms are kept between the two passes of backward
constexpr int64_t kColumnGrain = 128;

float reciprocal_rms(const float* x, int64_t C, float eps) {
  const float sum = row_sum(C, [&](int64_t i, int n, Vec acc) FULMEN_INLINE_LAMBDA {
    const Vec v = load_some(x + i, n);
    return fma(v, v, acc);
  });
  return 1.0f / std::sqrt(sum / (float)C + eps);
}

// g null: no gate.
template <bool kGated>
void forward_row(const float* x, const float* g, const float* w, float eps, float* y, int64_t C) {
  const Vec rstd = set1(reciprocal_rms(x, C, eps));
  each_vec(C, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
    Vec v = mul(mul(load_some(x + i, n), rstd), load_some(w + i, n));
    if constexpr (kGated) v = mul(sigmoid(load_some(g + i, n)), v);
    store_some(y + i, v, n);
  });
}

struct Backward {  // both norms; g and dg are absent without a gate
  TensorRef dy, x, g, w, dx, dg, dw;
  float eps;
};

// With d = gradient after the weight, dx = rstd * d - x * slope, slope = rstd^3 / C * sum_c d x.
struct RowTerms {
  float rstd, slope;
};

template <bool kGated>
RowTerms row_terms(const Backward& a, int64_t t) {
  const int64_t C = a.x.dim[1];
  const float *dy = a.dy.row(t), *x = a.x.row(t), *g = kGated ? a.g.row(t) : nullptr, *w = a.w.f32();
  const float rstd = reciprocal_rms(x, C, a.eps);
  const float dot = row_sum(C, [&](int64_t i, int n, Vec acc) FULMEN_INLINE_LAMBDA {
    Vec d = load_some(dy + i, n);
    if constexpr (kGated) d = mul(d, sigmoid(load_some(g + i, n)));
    return fma(mul(d, load_some(w + i, n)), load_some(x + i, n), acc);
  });
  return {rstd, rstd * rstd * rstd / (float)C * dot};
}

// Columns [c0, c1) of row t: dx, dg, and the next link of the chains of dw.
template <bool kGated>
void backward_row(const Backward& a, int64_t t, RowTerms terms, int64_t c0, int64_t c1) {
  const float *dy = a.dy.row(t) + c0, *x = a.x.row(t) + c0, *g = kGated ? a.g.row(t) + c0 : nullptr;
  const float* w = a.w.f32() + c0;
  float *dx = a.dx.row(t) + c0, *dg = kGated ? a.dg.row(t) + c0 : nullptr, *dw = a.dw.f32() + c0;
  const Vec rstd = set1(terms.rstd), slope = set1(terms.slope);
  each_vec(c1 - c0, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
    const Vec xi = load_some(x + i, n), wi = load_some(w + i, n), normed = mul(xi, rstd);
    Vec d = load_some(dy + i, n);
    if constexpr (kGated) {
      const Vec s = sigmoid(load_some(g + i, n));
      store_some(dg + i, mul(mul(d, mul(normed, wi)), mul(s, sub(set1(1.0f), s))), n);
      d = mul(d, s);
    }
    store_some(dw + i, fma(d, normed, load_some(dw + i, n)), n);
    store_some(dx + i, fnma(xi, slope, mul(rstd, mul(d, wi))), n);
  });
}

// Two passes over each tile of rows: by rows the sums, then by columns everything else, because dw is a chain over
// rows.
template <bool kGated>
void backward(const Backward& a, Context& ctx) {
  const int64_t T = a.x.dim[0], C = a.x.dim[1];
  RowTerms terms[kTermRows];
  for (int64_t t0 = 0; t0 < T; t0 += kTermRows) {
    const int64_t rows = smaller(kTermRows, T - t0);
    for_rows(rows, C, ctx, [&](int64_t r) { terms[r] = row_terms<kGated>(a, t0 + r); });
    const int64_t grain = rows * C < 16384 ? C : kColumnGrain;
    ctx.pool->parallel_for(C, grain, [&](int64_t c0, int64_t c1, int) {
      for (int64_t r = 0; r < rows; ++r) backward_row<kGated>(a, t0 + r, terms[r], c0, c1);
    });
  }
}

}  // namespace

void rmsnorm_forward(const RmsNormForward& a, Context& ctx) {
  for_rows(a.x.dim[0], a.x.dim[1], ctx,
           [&a](int64_t t) { forward_row<false>(a.x.row(t), nullptr, a.w.f32(), a.eps, a.y.row(t), a.x.dim[1]); });
}

void gated_rmsnorm_forward(const GatedRmsNormForward& a, Context& ctx) {
  for_rows(a.x.dim[0], kExpCost * a.x.dim[1], ctx,
           [&a](int64_t t) { forward_row<true>(a.x.row(t), a.g.row(t), a.w.f32(), a.eps, a.y.row(t), a.x.dim[1]); });
}

void rmsnorm_backward(const RmsNormBackward& a, Context& ctx) {
  backward<false>({a.dy, a.x, {}, a.w, a.dx, {}, a.dw, a.eps}, ctx);
}

void gated_rmsnorm_backward(const GatedRmsNormBackward& a, Context& ctx) {
  backward<true>({a.dy, a.x, a.g, a.w, a.dx, a.dg, a.dw, a.eps}, ctx);
}

}  // namespace fulmen::kernels::FULMEN_ISA
