#include "kernels/cpu/entries.h"
#include "kernels/cpu/row_loop.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

// The slots of one token: the largest logit not yet taken, of equal ones the lowest id. Logits that are not numbers
// come last; when nothing else is left the ids are still valid and distinct.
void pick_experts(const float* logits, int64_t E, int top_k, int32_t* expert) {
  alignas(64) float x[kMaxExperts];
  const Vec lowest = set1(-__builtin_inff());
  const int64_t padded = (E + kLanes - 1) / kLanes * kLanes;
  store(x + padded - kLanes, lowest);
  each_vec(E, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA { store_some(x + i, load_some(logits + i, n), n); });
  uint64_t taken[kMaxExperts / 64] = {};
  for (int j = 0; j < top_k; ++j) {
    Vec top = lowest;
    for (int64_t i = 0; i < padded; i += kLanes) top = vmax(load(x + i), top);  // the second one where x is no number
    const float most = hmax(top);
    int64_t best = 0;
    if (most > -__builtin_inff()) {
      uint32_t at;
      while (!(at = equal_lanes(load(x + best), set1(most)))) best += kLanes;
      best += __builtin_ctz(at);
    } else {
      while (taken[best / 64] >> (best % 64) & 1) ++best;
    }
    taken[best / 64] |= uint64_t{1} << (best % 64);
    x[best] = -__builtin_inff();
    expert[j] = (int32_t)best;
  }
}

void slot_weights(const float* x, const int32_t* expert, int top_k, float* weight) {
  for (int j = 0; j < top_k; ++j) weight[j] = x[expert[j]] - x[expert[0]];
  each_vec(top_k,
           [&](int64_t i, int n) FULMEN_INLINE_LAMBDA { store_some(weight + i, vexp(load_some(weight + i, n)), n); });
  float sum = 0;
  for (int j = 0; j < top_k; ++j) sum += weight[j];
  for (int j = 0; j < top_k; ++j) weight[j] /= sum;
}

// position[t * top_k + slot] = the row of the sorted order that holds this pair. Lives in scratch of thread 0.
const int32_t* positions(std::span<const int32_t> order, Context& ctx) {
  auto* position = (int32_t*)ctx.pool->scratch(0, order.size_bytes());
  for (size_t r = 0; r < order.size(); ++r) position[order[r]] = (int32_t)r;
  return position;
}

}  // namespace

void route_forward(const RouteForward& a, Context& ctx) {
  for_rows(a.logits.dim[0], a.logits.dim[1] * a.top_k, ctx, [&a](int64_t t) {
    int32_t* expert = a.expert.data() + t * a.top_k;
    pick_experts(a.logits.row(t), a.logits.dim[1], a.top_k, expert);
    slot_weights(a.logits.row(t), expert, a.top_k, a.weight.row(t));
  });
}

void route_backward(const RouteBackward& a, Context& ctx) {
  for_rows(a.dlogits.dim[0], a.dlogits.dim[1], ctx, [&a](int64_t t) {
    const float *w = a.weight.row(t), *dw = a.dweight.row(t);
    float* dx = a.dlogits.row(t);
    float mean = 0;
    for (int j = 0; j < a.top_k; ++j) mean = __builtin_fmaf(w[j], dw[j], mean);
    memset(dx, 0, (size_t)a.dlogits.dim[1] * sizeof(float));
    for (int j = 0; j < a.top_k; ++j) dx[a.expert[t * a.top_k + j]] = w[j] * (dw[j] - mean);
  });
}

// While pairs are placed, offset[e] is the next free row of expert e; it ends as the start of e + 1.
void dispatch(const Dispatch& a, Context&) {
  memset(a.offset.data(), 0, a.offset.size_bytes());
  for (const int32_t e : a.expert) ++a.offset[e + 1];
  for (int e = 0; e < a.E; ++e) a.offset[e + 1] += a.offset[e];
  for (size_t i = 0; i < a.expert.size(); ++i) a.order[a.offset[a.expert[i]]++] = (int32_t)i;
  for (int e = a.E; e > 0; --e) a.offset[e] = a.offset[e - 1];
  a.offset[0] = 0;
}

void gather_rows(const GatherRows& a, Context& ctx) {
  for_rows(a.y.dim[0], a.y.dim[1], ctx,
           [&a](int64_t r) { memcpy(a.y.row(r), a.x.row(a.order[r] / a.top_k), (size_t)a.y.dim[1] * sizeof(float)); });
}

void gather_rows_backward(const GatherRowsBackward& a, Context& ctx) {
  const int32_t* position = positions(a.order, ctx);
  for_rows(a.dx.dim[0], a.dx.dim[1] * a.top_k, ctx, [&a, position](int64_t t) {
    const int32_t* at = position + t * a.top_k;
    each_vec(a.dx.dim[1], [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
      Vec sum = load_some(a.dy.row(at[0]) + i, n);
      for (int j = 1; j < a.top_k; ++j) sum = add(sum, load_some(a.dy.row(at[j]) + i, n));
      store_some(a.dx.row(t) + i, sum, n);
    });
  });
}

void combine_forward(const CombineForward& a, Context& ctx) {
  const int32_t* position = positions(a.order, ctx);
  for_rows(a.y.dim[0], a.y.dim[1] * a.weight.dim[1], ctx, [&a, position](int64_t t) {
    const int64_t top_k = a.weight.dim[1];
    const int32_t* at = position + t * top_k;
    const float* w = a.weight.row(t);
    each_vec(a.y.dim[1], [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
      Vec sum = mul(set1(w[0]), load_some(a.f.row(at[0]) + i, n));
      for (int64_t j = 1; j < top_k; ++j) sum = fma(set1(w[j]), load_some(a.f.row(at[j]) + i, n), sum);
      store_some(a.y.row(t) + i, sum, n);
    });
  });
}

void combine_backward(const CombineBackward& a, Context& ctx) {
  for_rows(a.df.dim[0], a.df.dim[1], ctx, [&a](int64_t r) {
    const int64_t top_k = a.weight.dim[1], C = a.df.dim[1], t = a.order[r] / top_k, slot = a.order[r] % top_k;
    const float *dy = a.dy.row(t), *f = a.f.row(r);
    float* df = a.df.row(r);
    a.dweight.row(t)[slot] = row_sum(C, [&](int64_t i, int n, Vec acc) FULMEN_INLINE_LAMBDA {
      return fma(load_some(dy + i, n), load_some(f + i, n), acc);
    });
    const Vec w = set1(a.weight.row(t)[slot]);
    each_vec(C, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA { store_some(df + i, mul(w, load_some(dy + i, n)), n); });
  });
}

}  // namespace fulmen::kernels::FULMEN_ISA
