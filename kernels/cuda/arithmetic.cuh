#pragma once
// The canonical fp32 arithmetic of the kernels: the formulas of kernels/cpu/simd.h one lane at a time, so that kernels
// which follow the fp32 specification give the bits of the CPU backend. Compiled with -fmad=false -ftz=true and precise
// division and square root; every fused multiply-add is written out.

#include <cmath>
#include <cstring>

#include "kernels/cuda/device.cuh"

namespace fulmen::kernels::cuda {

#ifdef __CUDACC__
__device__ inline float fma32(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ inline float bits_to_float(uint32_t u) { return __uint_as_float(u); }
__device__ inline uint32_t float_to_bits(float f) { return __float_as_uint(f); }
#else
inline float fma32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float bits_to_float(uint32_t u) { return std::bit_cast<float>(u); }
inline uint32_t float_to_bits(float f) { return std::bit_cast<uint32_t>(f); }
#endif

__device__ inline float larger(float a, float b) { return a > b ? a : b; }

// exp of the forward pass, about 1 ulp in [-87, 88]; below -87 gives 0, above 88 is clamped to exp(88).
__device__ inline float exp32(float x) {
  float c = x > -87.0f ? x : -87.0f;
  c = c < 88.0f ? c : 88.0f;
  const float n = rintf(c * 1.44269504088896341f);
  float r = fma32(-n, 0.693145751953125f, c);
  r = fma32(-n, 1.42860682030941723212e-6f, r);
  float p = 1.9875691500e-4f;
  p = fma32(p, r, 1.3981999507e-3f);
  p = fma32(p, r, 8.3334519073e-3f);
  p = fma32(p, r, 4.1665795894e-2f);
  p = fma32(p, r, 1.6666665459e-1f);
  p = fma32(p, r, 5.0000001201e-1f);
  p = fma32(p, r * r, r + 1.0f);
  return x < -87.0f ? 0.0f : p * bits_to_float(static_cast<uint32_t>(static_cast<int>(n) + 127) << 23);
}

__device__ inline float sigmoid32(float x) { return 1.0f / (1.0f + exp32(0.0f - x)); }

__device__ inline uint16_t to_bf16(float f) {  // nearest even
  const uint32_t u = float_to_bits(f);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
__device__ inline float from_bf16(uint16_t x) { return bits_to_float(static_cast<uint32_t>(x) << 16); }
__device__ inline float widen(float x) { return x; }
__device__ inline float widen(uint16_t x) { return from_bf16(x); }
template <class T>
__device__ inline T narrow(float x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return to_bf16(x);
}

// Sum of 64 chains, one a thread, in the tree of row_sum (kernels/cpu/simd.h): thread j of 64 owns the columns that are
// j modulo 64. The 64 threads are two whole warps; `memory` is 64 floats of theirs alone; every thread of the block
// calls it at once. All 64 get the sum.
__device__ inline float sum_of_64(float chain, float* memory, int j) {
  __syncthreads();
  memory[j] = chain;
  __syncthreads();
  if (j < 32) {
    const int lane = j & 15;
    float t = (memory[lane] + memory[16 + lane]) + (memory[32 + lane] + memory[48 + lane]);
    for (int s = 8; s > 0; s >>= 1) t = t + __shfl_down_sync(0xffffffffu, t, s);
    __syncwarp();
    if (j == 0) memory[0] = t;
  }
  __syncthreads();
  return memory[0];
}

constexpr int kRowThreads = 64;  // that share a row
constexpr int kBlockRows = 4;    // rows of a block of 256 threads

}  // namespace fulmen::kernels::cuda
