#include <cmath>

#include "kernels/cpu/entries.h"
#include "kernels/cpu/row_loop.h"
#include "kernels/rope_angles.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int64_t kColumnGrain = 64;

FULMEN_INLINE Vec silu(Vec x) { return div(x, add(set1(1.0f), vexp(sub(zero(), x)))); }

// d silu / dx = s (1 + x (1 - s)), s = sigmoid(x)
FULMEN_INLINE Vec silu_slope(Vec x, Vec s) { return mul(s, fma(x, sub(set1(1.0f), s), set1(1.0f))); }

// One head of one row: pairs (i, i + half) turned by the angle whose cosine and sine stand in cos[i] and sin[i].
void rotate(float* x, const float* cos, const float* sin, int64_t half) {
  each_vec(half, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
    const Vec a = load_some(x + i, n), b = load_some(x + half + i, n);
    const Vec c = load_some(cos + i, n), s = load_some(sin + i, n);
    store_some(x + i, fnma(b, s, mul(a, c)), n);
    store_some(x + half + i, fma(a, s, mul(b, c)), n);
  });
}

int64_t position_of(std::span<const Segment> segments, int64_t row) {
  size_t low = 0, high = segments.size() - 1;
  while (low < high) {
    const size_t mid = (low + high + 1) / 2;
    if (segments[mid].row0 <= row)
      low = mid;
    else
      high = mid - 1;
  }
  return segments[low].pos0 + (row - segments[low].row0);
}

// Scratch of one thread: the angle of position 1 for each pair (fp64), then cosines and sines of the row at hand.
struct RopeTables {
  double* frequency;
  float *cos, *sin;
};

RopeTables rope_tables(const Rope& a, void* memory) {
  const int64_t half = a.rotary / 2;
  RopeTables tables{(double*)memory, nullptr, nullptr};
  tables.cos = (float*)(tables.frequency + half);
  tables.sin = tables.cos + half;
  rope_frequencies(a.theta, a.rotary, tables.frequency);
  return tables;
}

void rope_row(const Rope& a, const RopeTables& tables, int64_t row) {
  const int64_t half = a.rotary / 2, position = position_of(a.segments, row);
  const float *cosines = tables.cos, *sines = tables.sin;
  if ((position + 1) * a.rotary <= (int64_t)a.angles.size()) {
    cosines = a.angles.data() + position * a.rotary;
    sines = cosines + half;
  } else {
    rope_angles_of(position, tables.frequency, (int)half, tables.cos, tables.sin);
  }
  if (a.inverse) {
    for (int64_t i = 0; i < half; ++i) tables.sin[i] = -sines[i];
    sines = tables.sin;
  }
  for (int h = 0; h < a.heads; ++h) rotate(a.x.row(row) + (int64_t)h * a.D, cosines, sines, half);
}

}  // namespace

void embedding_forward(const EmbeddingForward& a, Context& ctx) {
  for_rows(a.y.dim[0], a.y.dim[1], ctx, [&a](int64_t t) {
    int64_t token = a.tokens[t];
    if (token < 0) token = a.sampled[-1 - token];
    memcpy(a.y.row(t), a.table.row(token > 0 ? token : 0), (size_t)a.y.dim[1] * sizeof(float));
  });
}

// Threads take columns, so that each row of the table gets its sum in row order.
void embedding_backward(const EmbeddingBackward& a, Context& ctx) {
  ctx.pool->parallel_for(a.dy.dim[1], kColumnGrain, [&a](int64_t c0, int64_t c1, int) {
    for (int64_t t = 0; t < a.dy.dim[0]; ++t) {
      float* to = a.dtable.row(a.tokens[t]) + c0;
      const float* from = a.dy.row(t) + c0;
      each_vec(c1 - c0, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
        store_some(to + i, add(load_some(to + i, n), load_some(from + i, n)), n);
      });
    }
  });
}

void silu_forward(const Silu& a, Context& ctx) {
  for_rows(a.x.dim[0], kExpCost * a.x.dim[1], ctx, [&a](int64_t t) {
    const float* x = a.x.row(t);
    float* y = a.y.row(t);
    each_vec(a.x.dim[1],
             [&](int64_t i, int n) FULMEN_INLINE_LAMBDA { store_some(y + i, silu(load_some(x + i, n)), n); });
  });
}

void silu_backward(const SiluBackward& a, Context& ctx) {
  for_rows(a.x.dim[0], kExpCost * a.x.dim[1], ctx, [&a](int64_t t) {
    const float *x = a.x.row(t), *dy = a.dy.row(t);
    float* dx = a.dx.row(t);
    each_vec(a.x.dim[1], [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
      const Vec v = load_some(x + i, n);
      store_some(dx + i, mul(load_some(dy + i, n), silu_slope(v, sigmoid(v))), n);
    });
  });
}

void swiglu_forward(const SwiGlu& a, Context& ctx) {
  for_rows(a.gate.dim[0], kExpCost * a.gate.dim[1], ctx, [&a](int64_t t) {
    const float *gate = a.gate.row(t), *up = a.up.row(t);
    float* y = a.y.row(t);
    each_vec(a.gate.dim[1], [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
      store_some(y + i, mul(silu(load_some(gate + i, n)), load_some(up + i, n)), n);
    });
  });
}

void swiglu_backward(const SwiGluBackward& a, Context& ctx) {
  for_rows(a.gate.dim[0], kExpCost * a.gate.dim[1], ctx, [&a](int64_t t) {
    const float *dy = a.dy.row(t), *gate = a.gate.row(t), *up = a.up.row(t);
    float *dgate = a.dgate.row(t), *dup = a.dup.row(t);
    each_vec(a.gate.dim[1], [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
      const Vec d = load_some(dy + i, n), g = load_some(gate + i, n), u = load_some(up + i, n), s = sigmoid(g);
      store_some(dup + i, mul(d, mul(g, s)), n);
      store_some(dgate + i, mul(mul(d, u), silu_slope(g, s)), n);
    });
  });
}

void scaled_add(const ScaledAdd& a, Context& ctx) {
  for_rows(a.x.dim[0], a.x.dim[1], ctx, [&a](int64_t t) {
    const float *x = a.x.row(t), *r = a.r.row(t);
    float* y = a.y.row(t);
    const Vec alpha = set1(a.alpha), beta = set1(a.beta);
    each_vec(a.x.dim[1], [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
      store_some(y + i, fma(alpha, load_some(x + i, n), mul(beta, load_some(r + i, n))), n);
    });
  });
}

void round_to_bf16(const TensorRef& x, Context& ctx) {
  for_rows(x.dim[0], x.dim[1], ctx, [&x](int64_t t) {
    float* row = x.row(t);
    for (int64_t i = 0; i < x.dim[1]; ++i) row[i] = from_bf16(to_bf16(row[i]));
  });
}

void rope(const Rope& a, Context& ctx) {
  const size_t bytes = (size_t)(a.rotary / 2) * (sizeof(double) + 2 * sizeof(float));
  ctx.pool->parallel_for(a.x.dim[0], 16, [&](int64_t begin, int64_t end, int thread_idx) {
    const RopeTables tables = rope_tables(a, ctx.pool->scratch(thread_idx, bytes));
    for (int64_t t = begin; t < end; ++t) rope_row(a, tables, t);
  });
}

}  // namespace fulmen::kernels::FULMEN_ISA
