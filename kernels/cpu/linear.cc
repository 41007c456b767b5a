#include "kernels/cpu/entries.h"
#include "kernels/cpu/simd.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

FULMEN_INLINE int64_t panels(int64_t n) { return (n + kPanel - 1) / kPanel; }

// y row = chain over k of x[k] * panel[k]; `T` is float or uint16_t (bf16).
template <class T>
void forward_row(const float* x, const T* w, int64_t N, int64_t K, float* y, int64_t q) {
  const T* p = w + q * K * kPanel;
  Vec a = zero(), b = zero();
  for (int64_t k = 0; k < K; ++k) {
    const Vec xk = set1(x[k]);
    a = fma(xk, load(p + k * kPanel), a);
    b = fma(xk, load(p + k * kPanel + kLanes), b);
  }
  const int64_t left = N - q * kPanel;
  store_n(y + q * kPanel, a, (int)(left < kLanes ? left : kLanes));
  if (left > kLanes) store_n(y + q * kPanel + kLanes, b, (int)(left - kLanes < kLanes ? left - kLanes : kLanes));
}

void forward_rows(const TensorRef& x, const PackedWeight& w, const TensorRef& y, int64_t r0, int64_t r1, Context& ctx) {
  ctx.pool->parallel_for(panels(w.N), 1, [&](int64_t q0, int64_t q1, int) {
    for (int64_t q = q0; q < q1; ++q)
      for (int64_t r = r0; r < r1; ++r)
        if (w.dtype == DType::kF32)
          forward_row((const float*)x.row(r), (const float*)w.data, w.N, w.K, y.row(r), q);
        else
          forward_row((const float*)x.row(r), (const uint16_t*)w.data, w.N, w.K, y.row(r), q);
  });
}

template <class T>
FULMEN_INLINE Vec load_part(const T* p, int n) {
  if (n == kLanes) return load(p);
  alignas(64) T t[kLanes] = {};
  for (int i = 0; i < n; ++i) t[i] = p[i];
  return load(t);
}

// c[j] continues the chain over i of a[i * lda] * b[i * ldb + j]
template <class T>
void chain_row(const float* a, int64_t lda, const T* b, int64_t ldb, int64_t n, float* c, int64_t cols, bool fresh) {
  for (int64_t j = 0; j < cols; j += kLanes) {
    const int w = (int)(cols - j < kLanes ? cols - j : kLanes);
    Vec s = fresh ? zero() : load_n(c + j, w);
    for (int64_t i = 0; i < n; ++i) s = fma(set1(a[i * lda]), load_part(b + i * ldb + j, w), s);
    store_n(c + j, s, w);
  }
}

void backward_rows(const TensorRef& dy, const TensorRef& x, const TensorRef& w, const TensorRef& dx, bool accumulate,
                   const TensorRef& dw, int64_t r0, int64_t r1, Context& ctx) {
  const int64_t N = dy.dim[1];
  if (dx)
    ctx.pool->parallel_for(r1 - r0, 1, [&](int64_t b, int64_t e, int) {
      for (int64_t r = r0 + b; r < r0 + e; ++r)
        if (w.dtype == DType::kF32)
          chain_row(dy.row(r), 1, (const float*)w.data, w.ld, N, dx.row(r), dx.dim[1], !accumulate);
        else
          chain_row(dy.row(r), 1, (const uint16_t*)w.data, w.ld, N, dx.row(r), dx.dim[1], !accumulate);
    });
  if (dw)
    ctx.pool->parallel_for(N, 1, [&](int64_t b, int64_t e, int) {
      for (int64_t n = b; n < e; ++n)
        chain_row(dy.row(r0) + n, dy.ld, (const float*)x.row(r0), x.ld, r1 - r0, dw.row(n), dw.dim[1], false);
    });
}

}  // namespace

void pack_weight(const TensorRef& src, DType dtype, void* dst, Context& ctx) {
  const int64_t N = src.dim[0], K = src.dim[1];
  ctx.pool->parallel_for(panels(N), 1, [&](int64_t q0, int64_t q1, int) {
    for (int64_t q = q0; q < q1; ++q)
      for (int64_t j = 0; j < kPanel; ++j) {
        const int64_t n = q * kPanel + j;
        for (int64_t k = 0; k < K; ++k) {
          const float v = n < N ? src.row(n)[k] : 0.0f;
          const int64_t at = (q * K + k) * kPanel + j;
          if (dtype == DType::kF32)
            ((float*)dst)[at] = v;
          else
            ((uint16_t*)dst)[at] = to_bf16(v);
        }
      }
  });
}

void linear_forward(const LinearForward& a, Context& ctx) { forward_rows(a.x, a.w, a.y, 0, a.x.dim[0], ctx); }

void linear_backward(const LinearBackward& a, Context& ctx) {
  backward_rows(a.dy, a.x, a.w, a.dx, a.dx_accumulate, a.dw, 0, a.dy.dim[0], ctx);
}

void grouped_linear_forward(const GroupedLinearForward& a, Context& ctx) {
  for (size_t e = 0; e < a.w.size(); ++e)
    if (a.offset[e] < a.offset[e + 1]) forward_rows(a.x, a.w[e], a.y, a.offset[e], a.offset[e + 1], ctx);
}

void grouped_linear_backward(const GroupedLinearBackward& a, Context& ctx) {
  for (size_t e = 0; e + 1 < a.offset.size(); ++e)
    if (a.offset[e] < a.offset[e + 1])
      backward_rows(a.dy, a.x, a.dx ? a.w[e] : TensorRef{}, a.dx, a.dx_accumulate, a.dw.empty() ? TensorRef{} : a.dw[e],
                    a.offset[e], a.offset[e + 1], ctx);
}

}  // namespace fulmen::kernels::FULMEN_ISA
