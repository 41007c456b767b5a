#include "kernels/cpu/entries.h"
#include "kernels/cpu/lightning_rows.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

template <class T>
HeadSlot<T> cache_slot(const LightningCache& c, int64_t slot, int H, int h, int D) {
  const int64_t i = slot * H + h;
  return {c.state + i * D * D, (T*)c.k + i * D * kBlock, (T*)c.v + i * D * kBlock};
}

HeadRows rows_of(const LightningForward& a, const Segment& s, int h) {
  const float* q = a.qkv.row(s.row0) + (ptrdiff_t)h * 3 * a.D;
  return {q, q + a.D, q + 2 * a.D, a.o.row(s.row0) + (ptrdiff_t)h * a.D, a.qkv.ld, a.o.ld};
}

void run_head(const LightningForward& a, const Segment& s, int h, float* scratch) {
  const HeadRows x = rows_of(a, s, h);
  const float* pw = a.pw + (ptrdiff_t)h * (kBlock + 1);
  if (!a.cache) {
    float* at = scratch + rows_scratch_floats(a.D);
    float* k = at + (size_t)a.D * a.D;
    lightning_head(x, HeadSlot<float>{at, k, k + (size_t)kBlock * a.D}, pw, a.D, 0, s.rows, scratch);
  } else if (a.cache->kv == DType::kF32) {
    lightning_head(x, cache_slot<float>(*a.cache, s.slot, a.H, h, a.D), pw, a.D, s.pos0, s.rows, scratch);
  } else {
    lightning_head(x, cache_slot<uint16_t>(*a.cache, s.slot, a.H, h, a.D), pw, a.D, s.pos0, s.rows, scratch);
  }
}

// One token of one head in strips of N vectors of the state's columns.
void recurrent_head(const float* q, const float* k, const float* v, float* o, float* state, float decay, int D) {
#ifdef __AVX512F__
  constexpr int kStrip = 8;
#else
  constexpr int kStrip = 2;
#endif
  const Vec lam = set1(decay);
  for_strips<kStrip>(
      D / kLanes, [&](auto strip, int c) __attribute__((always_inline)) {
        constexpr int N = decltype(strip)::value;
        Vec vv[N], oo[N];
#pragma GCC unroll 32
        for (int n = 0; n < N; ++n) vv[n] = load(v + (c + n) * kLanes), oo[n] = zero();
        for (int x = 0; x < D; ++x) {
          float* s = state + (size_t)x * D + c * kLanes;
          const Vec kk = set1(k[x]), qq = set1(q[x]);
#pragma GCC unroll 32
          for (int n = 0; n < N; ++n) {
            const Vec next = fma(kk, vv[n], mul(lam, load(s + n * kLanes)));
            store(s + n * kLanes, next);
            oo[n] = fma(qq, next, oo[n]);
          }
        }
#pragma GCC unroll 32
        for (int n = 0; n < N; ++n) store(o + (c + n) * kLanes, oo[n]);
      });
}

}  // namespace

void lightning_forward(const LightningForward& a, Context& ctx) {
  const size_t floats = rows_scratch_floats(a.D) + (a.cache ? 0 : slot_floats(a.D));
  ctx.pool->parallel_for((int64_t)a.segments.size() * a.H, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = (float*)ctx.pool->scratch(thread, floats * sizeof(float));
    for (int64_t i = begin; i < end; ++i) run_head(a, a.segments[i / a.H], (int)(i % a.H), scratch);
  });
}

void lightning_recurrent_step(const LightningRecurrentStep& a, Context& ctx) {
  const int64_t B = a.qkv.dim[0];
  ctx.pool->parallel_for(B * a.H, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i % a.H;
      const float* q = a.qkv.row(i / a.H) + h * 3 * a.D;
      recurrent_head(q, q + a.D, q + 2 * a.D, a.o.row(i / a.H) + h * a.D, a.state + i * a.D * a.D,
                     a.pw[h * (kBlock + 1) + 1], a.D);
    }
  });
}

}  // namespace fulmen::kernels::FULMEN_ISA
