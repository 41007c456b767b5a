#include "tests/bench/limits.h"

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>

#include "kernels/thread_pool.h"
#include "tests/bench/bench.h"
#include "tests/bench/progress.h"

namespace fulmen::bench {
namespace {

constexpr size_t kBufferFloats = size_t{64} << 20;  // 256 MiB, far beyond any cache
constexpr int kRepeats = 5;
constexpr int64_t kFmaSteps = 2'000'000;
constexpr int kChains = 24;  // enough to hide the latency of two units

__attribute__((target("avx512f"))) float fma_avx512() {
  __m512 a[kChains];
  for (int i = 0; i < kChains; ++i) a[i] = _mm512_set1_ps(1e-3f * static_cast<float>(i));
  __m512 m = _mm512_set1_ps(0.999f), c = _mm512_set1_ps(1e-6f);
  asm volatile("" : "+v"(m), "+v"(c));
  for (int64_t k = 0; k < kFmaSteps; ++k)
#pragma GCC unroll 24
    for (int i = 0; i < kChains; ++i) a[i] = _mm512_fmadd_ps(a[i], m, c);
  for (int i = 1; i < kChains; ++i) a[0] = _mm512_add_ps(a[0], a[i]);
  return _mm512_cvtss_f32(a[0]);
}

float fma_avx2() {
  constexpr int kHalf = kChains / 2;
  __m256 a[kHalf];
  for (int i = 0; i < kHalf; ++i) a[i] = _mm256_set1_ps(1e-3f * static_cast<float>(i));
  __m256 m = _mm256_set1_ps(0.999f), c = _mm256_set1_ps(1e-6f);
  asm volatile("" : "+x"(m), "+x"(c));
  for (int64_t k = 0; k < kFmaSteps; ++k)
#pragma GCC unroll 12
    for (int i = 0; i < kHalf; ++i) a[i] = _mm256_fmadd_ps(a[i], m, c);
  for (int i = 1; i < kHalf; ++i) a[0] = _mm256_add_ps(a[0], a[i]);
  return _mm256_cvtss_f32(a[0]);
}

float read_all(const float* p, size_t n) {
  __m256 a[8];
  for (__m256& v : a) v = _mm256_setzero_ps();
  for (size_t i = 0; i + 64 <= n; i += 64)
#pragma GCC unroll 8
    for (size_t j = 0; j < 8; ++j) a[j] = _mm256_add_ps(a[j], _mm256_load_ps(p + i + 8 * j));
  for (int i = 1; i < 8; ++i) a[0] = _mm256_add_ps(a[0], a[i]);
  return _mm256_cvtss_f32(a[0]);
}

void scale_all(float* p, size_t n) {
  const __m256 m = _mm256_set1_ps(1.0000001f);
  for (size_t i = 0; i < n; i += 8) _mm256_store_ps(p + i, _mm256_mul_ps(_mm256_load_ps(p + i), m));
}

// Work per second of the best repetition: a limit is what the machine can do, not what it did on average.
template <class F>
double best_rate(double work, kernels::ThreadPool& pool, F f) {
  double best = 1e30;
  for (int i = 0; i <= kRepeats; ++i) {
    const double t = now_seconds();
    pool.run(f);
    if (i > 0) best = std::min(best, now_seconds() - t);
  }
  return work / best * 1e-9;
}

Limits measure(int threads) {
  kernels::ThreadPool pool(threads);
  static const FloatBuffer buffer = random_floats(kBufferFloats, 1);
  const auto page = reinterpret_cast<uintptr_t>(buffer.get() + 1023) & ~uintptr_t{4095};
  madvise(reinterpret_cast<void*>(page), kBufferFloats * 4 - 4096, MADV_DONTFORK);  // forks shall cost what they cost
  volatile float sink = 0;
  const size_t share = kBufferFloats / static_cast<size_t>(threads) / 64 * 64;
  const auto part = [&](int t) { return buffer.get() + static_cast<size_t>(t) * share; };
  const bool wide = __builtin_cpu_supports("avx512f");
  show_progress();
  Limits l;
  l.threads = threads;
  const Quiet quiet;
  l.fma_gflops = best_rate((wide ? 32.0 * kChains : 16.0 * (kChains / 2)) * kFmaSteps * threads, pool,
                           [&](int) { sink = wide ? fma_avx512() : fma_avx2(); });
  const double bytes = static_cast<double>(share) * 4 * threads;
  l.read_gbs = best_rate(bytes, pool, [&](int t) { sink = read_all(part(t), share); });
  l.read_write_gbs = best_rate(2 * bytes, pool, [&](int t) { scale_all(part(t), share); });
  l.others = quiet.others();
  clear_progress();
  return l;
}

}  // namespace

const Limits& limits(int threads) {
  static std::map<int, Limits> known;
  const auto [it, is_new] = known.try_emplace(threads);
  if (is_new) it->second = measure(threads);
  return it->second;
}

Limits limits_around(int threads, const std::function<void()>& work) {
  const Limits before = measure(threads);
  work();
  const Limits after = measure(threads);
  return {threads, std::max(before.fma_gflops, after.fma_gflops), std::max(before.read_gbs, after.read_gbs),
          std::max(before.read_write_gbs, after.read_write_gbs), std::max(before.others, after.others)};
}

}  // namespace fulmen::bench
