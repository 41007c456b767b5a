#pragma once
// The log-probability of a row of logits: the one piece of arithmetic that lm_head.cc (learner) and sampler.cc
// (rollout) must share bit for bit. Order: chunks of kVocabChunk columns, within a chunk row_sum, chunks merged in
// ascending order.

#include <cmath>

#include "kernels/cpu/row_loop.h"
#include "kernels/lm_head.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

// Of x = logit * inv_temperature over some columns: m = max x, l = sum exp(x - m), s = sum exp(x - m) (x - m).
struct VocabStats {
  float m, l, s;
};

FULMEN_INLINE int64_t vocab_chunks(int64_t V) { return (V + kVocabChunk - 1) / kVocabChunk; }
FULMEN_INLINE int64_t chunk_width(int64_t V, int64_t chunk) { return smaller(kVocabChunk, V - chunk * kVocabChunk); }

// GCC 12 warns inside its own _mm512_max_ps (_mm512_undefined_ps).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
FULMEN_INLINE float chunk_max(const float* logits, int64_t n, Vec inv_temperature) {
  const Vec lowest = set1(-INFINITY);
  Vec m0 = lowest, m1 = lowest;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    m0 = vmax(m0, mul(load(logits + i), inv_temperature));
    m1 = vmax(m1, mul(load(logits + i + kLanes), inv_temperature));
  }
  each_vec(n - i, [&](int64_t j, int k) FULMEN_INLINE_LAMBDA {
    const Vec x = mul(load_some(logits + i + j, k), inv_temperature);
    m0 = vmax(m0, k == kLanes ? x : select_lt(zero(), first_lanes(k), x, lowest));
  });
  return hmax(vmax(m0, m1));
}
#pragma GCC diagnostic pop

// One chunk, n <= kVocabChunk. l and m do not depend on kEntropy. Not-finite logits make l not a number: the exp of
// simd.h would hide them, so (x - m) * 0 is added, which changes no bit otherwise.
template <bool kEntropy>
VocabStats chunk_stats(const float* logits, int64_t n, float inv_temperature) {
  const Vec inv_t = set1(inv_temperature);
  const float m = chunk_max(logits, n, inv_t);
  Vec s = zero();
  const float l = row_sum(n, [&](int64_t i, int k, Vec acc) FULMEN_INLINE_LAMBDA {
    const Vec d = sub(mul(load_some(logits + i, k), inv_t), set1(m));
    Vec e = vexp(d);
    if (k < kLanes) e = mul(e, first_lanes(k));
    if constexpr (kEntropy) s = fma(e, d, s);
    return add(fma(d, zero(), acc), e);
  });
  return {m, l, kEntropy ? hsum(s) : 0.0f};
}

FULMEN_INLINE VocabStats merge(VocabStats a, VocabStats b) {
  const float m = a.m > b.m ? a.m : b.m;
  const float da = a.m - m, db = b.m - m;
  const float ea = exp1(da), eb = exp1(db);
  return {m, __builtin_fmaf(a.l, ea, b.l * eb),
          __builtin_fmaf(__builtin_fmaf(a.l, da, a.s), ea, __builtin_fmaf(b.l, db, b.s) * eb)};
}

FULMEN_INLINE float log_probability(float x, VocabStats row) { return (x - row.m) - (float)std::log((double)row.l); }

// -sum p log p = log l - s / l: both terms are positive, so nothing cancels.
FULMEN_INLINE float row_entropy(VocabStats row) {
  return (float)(std::log((double)row.l) - (double)row.s / (double)row.l);
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
