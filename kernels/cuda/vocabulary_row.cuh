#pragma once
// The log-probability of a row of logits: what lm_head.cu (learner) and sampler.cu (rollout) must share bit for bit, in
// the order of kernels/cpu/vocabulary_row.h: chunks of kVocabChunk columns, within a chunk the pattern of row_sum,
// chunks merged in ascending order. Only s, which the entropy needs, is summed as l is and not as there.

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/lm_head.h"

namespace fulmen::kernels::cuda {

// Of x = logit * inv_temperature over some columns: m = max x, l = sum exp(x - m), s = sum exp(x - m) (x - m).
struct VocabStats {
  float m, l, s;
};

__host__ __device__ inline int64_t vocab_chunks(int64_t V) { return (V + kVocabChunk - 1) / kVocabChunk; }
__host__ __device__ inline int64_t chunk_width(int64_t V, int64_t chunk) {
  return V - chunk * kVocabChunk < kVocabChunk ? V - chunk * kVocabChunk : kVocabChunk;
}

// Largest of 64 threads' values, to all of them; called as sum_of_64 is.
__device__ inline float max_of_64(float value, float* memory, int j) {
  __syncthreads();
  memory[j] = value;
  __syncthreads();
  if (j < 32) {
    float t = larger(memory[j], memory[32 + j]);
    for (int s = 16; s > 0; s >>= 1) t = larger(t, __shfl_xor_sync(0xffffffffu, t, s));
    __syncwarp();
    if (j == 0) memory[0] = t;
  }
  __syncthreads();
  return memory[0];
}

// One chunk by 64 threads, read once. A logit that is not finite makes l not a number: (x - m) * 0 is added, which
// changes nothing otherwise.
__device__ inline VocabStats chunk_stats(const float* logits, int64_t n, float inv_temperature, float* memory, int j) {
  constexpr int kMine = kVocabChunk / kRowThreads;
  const int mine = static_cast<int>((n - j + kRowThreads - 1) / kRowThreads);  // of this thread: j, j + 64, ...
  float x[kMine], top = -INFINITY;
  FULMEN_UNROLL
  for (int i = 0; i < kMine; ++i) {
    x[i] = i < mine ? logits[j + i * kRowThreads] * inv_temperature : -INFINITY;
    if (i < mine) top = larger(top, x[i]);
  }
  const float m = max_of_64(top, memory, j);
  float l = 0, s = 0;
  FULMEN_UNROLL
  for (int i = 0; i < kMine; ++i) {
    if (i >= mine) continue;
    const float d = x[i] - m, e = exp32(d);
    s = fma32(e, d, s);
    l = fma32(d, 0.0f, l) + e;
  }
  const float sum = sum_of_64(l, memory, j);
  return {m, sum, sum_of_64(s, memory, j)};
}

__device__ inline VocabStats merge_stats(VocabStats a, VocabStats b) {
  const float m = larger(a.m, b.m), da = a.m - m, db = b.m - m, ea = exp32(da), eb = exp32(db);
  return {m, fma32(a.l, ea, b.l * eb), fma32(fma32(a.l, da, a.s), ea, fma32(b.l, db, b.s) * eb)};
}

__device__ inline float log_probability(float x, VocabStats row) {
  return (x - row.m) - static_cast<float>(log(static_cast<double>(row.l)));
}

__device__ inline float row_entropy(VocabStats row) {
  return static_cast<float>(log(static_cast<double>(row.l)) - static_cast<double>(row.s) / static_cast<double>(row.l));
}

}  // namespace fulmen::kernels::cuda
