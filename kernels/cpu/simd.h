#pragma once
// Vec: 16 fp32 lanes, on AVX-512 one register, on AVX2 two. Every CPU kernel is written once against Vec and compiled
// twice (kernels/CMakeLists.txt: FULMEN_ISA = avx512 | avx2), so both give the same bits: a lane is one fma chain, and
// reductions over lanes have the fixed tree of hsum().
//
// Only files under kernels/cpu/ include this. They must not use std containers or other inline library code with external
// linkage: the linker would keep one copy of it, perhaps the AVX-512 one. Everything here has internal linkage.

// GCC 12 sees an uninitialised value inside its own _mm512_undefined_ps.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstddef>
#include <cstdint>
#include <cstring>

#ifndef FULMEN_ISA
#error "compile kernels/cpu through kernels/CMakeLists.txt"
#endif
#define FULMEN_INLINE static inline __attribute__((always_inline))

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int kLanes = 16;
FULMEN_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

#ifdef __AVX512F__
// Register tile of a GEMM: kTileRows x kTileVecs accumulators, and as many as fit with more columns and fewer rows.
constexpr int kTileRows = 14;
constexpr int kTileVecs = 2;
struct Vec { __m512 v; };
FULMEN_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
FULMEN_INLINE Vec set1(float x) { return {_mm512_set1_ps(x)}; }
FULMEN_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
FULMEN_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
FULMEN_INLINE void keep(Vec& a) { asm("" : "+v"(a.v)); }  // stays in a register
FULMEN_INLINE Vec load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p)}; }
FULMEN_INLINE void store_n(float* p, Vec a, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a.v); }
FULMEN_INLINE Vec load_bf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
}
// Widens with one instruction beside the load, where load_bf16 takes two, but lanes come in the order 0-3, 8-11, 4-7,
// 12-15. reordered() turns that order into the natural one and back.
FULMEN_INLINE Vec load_mixed(const uint16_t* p) {
  const __m512i both = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)p));
  const __m512i words = _mm512_inserti64x4(  // of each quarter: of the lower ones the first four, of the upper the last
      _mm512_set4_epi32(0x07068080, 0x05048080, 0x03028080, 0x01008080),
      _mm256_set_epi32(0x0f0e8080, 0x0d0c8080, 0x0b0a8080, 0x09088080, 0x0f0e8080, 0x0d0c8080, 0x0b0a8080, 0x09088080),
      1);
  return {_mm512_castsi512_ps(_mm512_shuffle_epi8(both, words))};
}
FULMEN_INLINE Vec swap_middle(Vec x) { return {_mm512_shuffle_f32x4(x.v, x.v, 0xd8)}; }
FULMEN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a*b + c
// *a * b + c as one instruction, where GCC would share a broadcast among several: fewer to issue, but more loads.
FULMEN_INLINE Vec fma_broadcast(const float* a, Vec b, Vec c) {
  asm("vfmadd231ps %1%{1to16%}, %2, %0" : "+v"(c.v) : "m"(*a), "v"(b.v));
  return c;
}
FULMEN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // -a*b + c
FULMEN_INLINE Vec add(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
FULMEN_INLINE Vec sub(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
FULMEN_INLINE Vec mul(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
FULMEN_INLINE Vec div(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
FULMEN_INLINE Vec vmax(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
FULMEN_INLINE Vec vmin(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
FULMEN_INLINE Vec vsqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
// p * 2^n where the lowest bits of n's word are the integer n and the product is normal
FULMEN_INLINE Vec add_exponent(Vec p, Vec n) {
  return {_mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(n.v), 23)))};
}
// lanes where a < b take x, others y
FULMEN_INLINE Vec select_lt(Vec a, Vec b, Vec x, Vec y) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), y.v, x.v)};
}
// bit i: lane i of a equals b
FULMEN_INLINE uint32_t equal_lanes(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
// 16 x 16 transpose in registers.
FULMEN_INLINE void transpose(__m512 (&r)[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // r[i + j]: columns j, j + 4, j + 8, j + 12 of rows i..i+3, one per 128-bit lane
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i]), _mm512_castps_pd(t[i + 2])));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(t[i + 1]), _mm512_castps_pd(t[i + 3])));
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(r[j], r[j + 4], 0x88), b = _mm512_shuffle_f32x4(r[j], r[j + 4], 0xdd);
    const __m512 c = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0x88), d = _mm512_shuffle_f32x4(r[j + 8], r[j + 12], 0xdd);
    t[j] = _mm512_shuffle_f32x4(a, c, 0x88);
    t[j + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    t[j + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    t[j + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}
// out[k * out_ld + r] = x[r * ld + k] for r < rows <= 16, k < n <= kPackStep, in ascending k. Writes 16 floats per k (on
// AVX2 8 where rows <= 8), those beyond `rows` zero: the next k, or whoever packs what follows, overwrites them.
constexpr int kPackStep = 16;
FULMEN_INLINE void pack_transposed(const float* x, int64_t ld, int rows, int n, float* out, int64_t out_ld) {
  const __mmask16 m = (__mmask16)((1u << n) - 1);
  __m512 r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = i < rows ? _mm512_maskz_loadu_ps(m, x + i * ld) : _mm512_setzero_ps();
  transpose(r);
#pragma GCC unroll 16
  for (int k = 0; k < 16; ++k)
    if (k < n) _mm512_storeu_ps(out + k * out_ld, r[k]);
}
#else
constexpr int kTileRows = 6;
constexpr int kTileVecs = 1;
struct Vec { __m256 a, b; };
FULMEN_INLINE Vec zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
FULMEN_INLINE Vec set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
FULMEN_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
FULMEN_INLINE void store(float* p, Vec x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
FULMEN_INLINE void keep(Vec& x) { asm("" : "+x"(x.a), "+x"(x.b)); }
FULMEN_INLINE __m256i mask8(int n) {  // first n of 8 lanes, n may be < 0 or > 8
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
FULMEN_INLINE Vec load_n(const float* p, int n) {
  return {_mm256_maskload_ps(p, mask8(n)), _mm256_maskload_ps(p + 8, mask8(n - 8))};
}
FULMEN_INLINE void store_n(float* p, Vec x, int n) {
  _mm256_maskstore_ps(p, mask8(n), x.a);
  _mm256_maskstore_ps(p + 8, mask8(n - 8), x.b);
}
FULMEN_INLINE __m256 widen8(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
FULMEN_INLINE Vec load_bf16(const uint16_t* p) { return {widen8(p), widen8(p + 8)}; }
FULMEN_INLINE __m256 widen8_shuffled(const uint16_t* p) {
  const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p));
  const __m256i words = _mm256_set_epi32(0x0f0e8080, 0x0d0c8080, 0x0b0a8080, 0x09088080,  //
                                         0x07068080, 0x05048080, 0x03028080, 0x01008080);
  return _mm256_castsi256_ps(_mm256_shuffle_epi8(both, words));
}
FULMEN_INLINE Vec load_mixed(const uint16_t* p) { return {widen8_shuffled(p), widen8_shuffled(p + 8)}; }
FULMEN_INLINE Vec swap_middle(Vec x) { return x; }  // lanes came in their natural order
FULMEN_INLINE Vec fma(Vec x, Vec y, Vec z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
FULMEN_INLINE Vec fma_broadcast(const float* x, Vec y, Vec z) { return fma(set1(*x), y, z); }
FULMEN_INLINE Vec fnma(Vec x, Vec y, Vec z) { return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)}; }
FULMEN_INLINE Vec add(Vec x, Vec y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
FULMEN_INLINE Vec sub(Vec x, Vec y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
FULMEN_INLINE Vec mul(Vec x, Vec y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
FULMEN_INLINE Vec div(Vec x, Vec y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
FULMEN_INLINE Vec vmax(Vec x, Vec y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
FULMEN_INLINE Vec vmin(Vec x, Vec y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
FULMEN_INLINE Vec vsqrt(Vec x) { return {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)}; }
FULMEN_INLINE __m256 add_exponent8(__m256 p, __m256 n) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(n), 23)));
}
FULMEN_INLINE Vec add_exponent(Vec p, Vec n) { return {add_exponent8(p.a, n.a), add_exponent8(p.b, n.b)}; }
FULMEN_INLINE Vec select_lt(Vec p, Vec q, Vec x, Vec y) {
  return {_mm256_blendv_ps(y.a, x.a, _mm256_cmp_ps(p.a, q.a, _CMP_LT_OQ)),
          _mm256_blendv_ps(y.b, x.b, _mm256_cmp_ps(p.b, q.b, _CMP_LT_OQ))};
}
FULMEN_INLINE uint32_t equal_lanes(Vec p, Vec q) {
  return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(p.a, q.a, _CMP_EQ_OQ)) |
         (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(p.b, q.b, _CMP_EQ_OQ)) << 8;
}
// 8 x 8 transpose in registers.
FULMEN_INLINE void transpose(__m256 (&r)[8]) {
  __m256 t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x20);
    t[j + 4] = _mm256_permute2f128_ps(r[j], r[j + 4], 0x31);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = t[i];
}
// As above, in two halves of 8 rows; the second half of the 16 floats is written only where rows > 8.
constexpr int kPackStep = 8;
FULMEN_INLINE void pack_transposed(const float* x, int64_t ld, int rows, int n, float* out, int64_t out_ld) {
  const __m256i m = mask8(n);
  for (int h = 0; h < rows; h += 8) {
    __m256 r[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) r[i] = h + i < rows ? _mm256_maskload_ps(x + (h + i) * ld, m) : _mm256_setzero_ps();
    transpose(r);
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k)
      if (k < n) _mm256_storeu_ps(out + k * out_ld + h, r[k]);
  }
}
#endif

FULMEN_INLINE Vec load(const uint16_t* p) { return load_bf16(p); }  // bf16 storage, exact widening

// What load_mixed gives for T, from the natural order of lanes and back.
FULMEN_INLINE Vec load_mixed(const float* p) { return load(p); }
template <class T>
FULMEN_INLINE Vec reordered(Vec x) {
  return sizeof(T) == sizeof(uint16_t) ? swap_middle(x) : x;
}

// Sum and maximum of the 16 lanes by a fixed tree: lane i with lane i+8, +4, +2, +1.
#ifdef __AVX512F__
FULMEN_INLINE __m256 lower(Vec x) { return _mm512_castps512_ps256(x.v); }
FULMEN_INLINE __m256 upper(Vec x) { return _mm512_extractf32x8_ps(x.v, 1); }
#else
FULMEN_INLINE __m256 lower(Vec x) { return x.a; }
FULMEN_INLINE __m256 upper(Vec x) { return x.b; }
#endif
FULMEN_INLINE float first_lane(Vec x) { return _mm256_cvtss_f32(lower(x)); }
FULMEN_INLINE float hsum(Vec x) {
  const __m256 e = _mm256_add_ps(lower(x), upper(x));
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
FULMEN_INLINE float hmax(Vec x) {
  const __m256 e = _mm256_max_ps(lower(x), upper(x));
  __m128 q = _mm_max_ps(_mm256_castps256_ps128(e), _mm256_extractf128_ps(e, 1));
  q = _mm_max_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}


// Sums or maxima (f = add, vmax) of the lanes of R <= 8 vectors at once, each by the tree above: lane r for x[r].
#ifdef __AVX512F__
template <int R, class F>
FULMEN_INLINE Vec reduce_rows(const Vec (&x)[R], F f) {
  __m512 halves[4], quarters[2];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 a = x[2 * i % R].v, b = x[(2 * i + 1) % R].v;
    halves[i] = f(Vec{_mm512_shuffle_f32x4(a, b, 0x44)}, Vec{_mm512_shuffle_f32x4(a, b, 0xee)}).v;
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m512 a = halves[2 * i], b = halves[2 * i + 1];
    quarters[i] = f(Vec{_mm512_shuffle_f32x4(a, b, 0x88)}, Vec{_mm512_shuffle_f32x4(a, b, 0xdd)}).v;
  }
  const __m512d a = _mm512_castps_pd(quarters[0]), b = _mm512_castps_pd(quarters[1]);
  const __m512 pairs =
      f(Vec{_mm512_castpd_ps(_mm512_unpacklo_pd(a, b))}, Vec{_mm512_castpd_ps(_mm512_unpackhi_pd(a, b))}).v;
  const Vec last = f(Vec{_mm512_shuffle_ps(pairs, pairs, 0x88)}, Vec{_mm512_shuffle_ps(pairs, pairs, 0xdd)});
  const __m512i rows = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 4, 8, 12, 1, 5, 9, 13);
  return {_mm512_permutexvar_ps(rows, last.v)};
}
#else
template <int R, class F>
FULMEN_INLINE Vec reduce_rows(const Vec (&x)[R], F f) {
  const auto both = [&f](__m256 a, __m256 b) { return f(Vec{a, a}, Vec{b, b}).a; };
  __m256 quarters[4], pairs[2];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m256 a = both(x[2 * i % R].a, x[2 * i % R].b), b = both(x[(2 * i + 1) % R].a, x[(2 * i + 1) % R].b);
    quarters[i] = both(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m256d a = _mm256_castps_pd(quarters[2 * i]), b = _mm256_castps_pd(quarters[2 * i + 1]);
    pairs[i] = both(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
  }
  const __m256 last = both(_mm256_shuffle_ps(pairs[0], pairs[1], 0x88), _mm256_shuffle_ps(pairs[0], pairs[1], 0xdd));
  const __m256 rows = _mm256_permutevar8x32_ps(last, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  return {rows, rows};
}
#endif

// exp, each lane independent, about 1 ulp in [-87, 88]; below -87 gives 0, above 88 is clamped to exp(88). The only exp
// of the forward pass: never mix it with libm's. exp_below: the same bits where x <= 88 is known.
constexpr float kLeastExponent = -87.0f;
FULMEN_INLINE Vec exp_clamped(Vec x, Vec c) {
  const Vec shift = set1(12582912.0f);  // 1.5 * 2^23: a sum with it is an integer, which stands in the lowest bits
  const Vec shifted = add(mul(c, set1(1.44269504088896341f)), shift), n = sub(shifted, shift);
  Vec r = fnma(n, set1(0.693145751953125f), c);
  r = fnma(n, set1(1.42860682030941723212e-6f), r);
  Vec p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, set1(1.0f)));
  return select_lt(x, set1(kLeastExponent), zero(), add_exponent(p, shifted));
}
FULMEN_INLINE Vec vexp(Vec x) { return exp_clamped(x, vmin(vmax(x, set1(kLeastExponent)), set1(88.0f))); }
FULMEN_INLINE Vec exp_below(Vec x) { return exp_clamped(x, vmax(x, set1(kLeastExponent))); }
FULMEN_INLINE float exp1(float x) { return first_lane(vexp(set1(x))); }
FULMEN_INLINE Vec sigmoid(Vec x) { return div(set1(1.0f), add(set1(1.0f), vexp(sub(zero(), x)))); }

FULMEN_INLINE uint16_t to_bf16(float f) {  // round to nearest even
  uint32_t u;
  memcpy(&u, &f, 4);
  return (uint16_t)((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
}
FULMEN_INLINE float from_bf16(uint16_t x) {
  const uint32_t u = (uint32_t)x << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

// Sum over a row of n floats of f(i, count, acc) -> acc in the fixed pattern of rows: Vec j goes to accumulator j % 4
// (count = lanes that are in the row: load with load_n when < 16), then (a0 + a1) + (a2 + a3), then hsum.
template <class F>
FULMEN_INLINE float row_sum(int64_t n, F f) {
  Vec a0 = zero(), a1 = zero(), a2 = zero(), a3 = zero();
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    a0 = f(i, 16, a0);
    a1 = f(i + 16, 16, a1);
    a2 = f(i + 32, 16, a2);
    a3 = f(i + 48, 16, a3);
  }
  if (i < n) a0 = f(i, (int)(n - i < 16 ? n - i : 16), a0), i += 16;
  if (i < n) a1 = f(i, (int)(n - i < 16 ? n - i : 16), a1), i += 16;
  if (i < n) a2 = f(i, (int)(n - i < 16 ? n - i : 16), a2), i += 16;
  if (i < n) a3 = f(i, (int)(n - i < 16 ? n - i : 16), a3);
  return hsum(add(add(a0, a1), add(a2, a3)));
}

}  // namespace
}  // namespace fulmen::kernels::FULMEN_ISA
