#pragma once
// Tensor cores and the loads that feed them. mma.sync m16n8k16 on both architectures (device.cuh: mma_bf16); here are
// its fragments from shared memory, and copies from device memory that go past the registers. tests/cuda_emulation
// implements the instructions on the CPU, where a copy lands only when it is waited for.
//
// Fragment layout with g = lane / 4, t = lane % 4: device.cuh.

#include "kernels/cuda/arithmetic.cuh"

namespace fulmen::kernels::cuda {

#ifdef __CUDACC__
__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// Four 8x8 matrices of 16-bit values; lanes 8i .. 8i + 7 give the addresses of the rows of matrix i (16 bytes each,
// aligned). Lane l gets of matrix i row g, columns 2t and 2t + 1; transposed: column g, rows 2t and 2t + 1.
__device__ inline void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// 16 bytes to shared memory, of which the first `bytes` are read and the others are zero. It lands by the time that
// copies_wait<n> leaves at most the n groups closed last.
__device__ inline void copy_async(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
__device__ inline void copies_close() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
__device__ inline void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

__device__ inline float power_of_two(float x) {  // 2 ulp; the same instruction wherever bits must agree
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#else
using emulation::copies_close;
using emulation::copies_wait;
using emulation::copy_async;
using emulation::load_matrices;
using emulation::load_matrices_transposed;
using emulation::power_of_two;
#endif

__device__ inline uint32_t pack(uint16_t low, uint16_t high) { return low | static_cast<uint32_t>(high) << 16; }
__device__ inline uint32_t pack_bf16(float low, float high) { return pack(to_bf16(low), to_bf16(high)); }
__device__ inline float low_half(uint32_t w) { return bits_to_float(w << 16); }
__device__ inline float high_half(uint32_t w) { return bits_to_float(w & 0xffff0000u); }

// What bf16 loses of two floats, itself in bf16: a + b of the pair has 16 bits or more.
__device__ inline uint32_t pack_rest(float low, float high, uint32_t packed) {
  return pack_bf16(low - low_half(packed), high - high_half(packed));
}

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp_id() { return static_cast<int>(threadIdx.x) / 32; }

// Fragments of matrices in shared memory, rows of `ld` values (ld / 8 odd: no bank twice).
//   a_rows      A(m, k) at [m][k]           a_columns    A(m, k) at [k][m]
//   b_columns   B(k, n) at [n][k]           b_rows       B(k, n) at [k][n];   both for 16 columns: b[0..1], b[2..3]
__device__ inline void a_rows(uint32_t (&a)[4], const uint16_t* at, int ld) {
  const int l = lane_id();
  load_matrices(a, at + (l & 15) * ld + (l >> 4) * 8);
}
__device__ inline void a_columns(uint32_t (&a)[4], const uint16_t* at, int ld) {
  const int l = lane_id();
  load_matrices_transposed(a, at + ((l & 7) + (l >> 4) * 8) * ld + (l >> 3 & 1) * 8);
}
__device__ inline void b_columns(uint32_t (&b)[4], const uint16_t* at, int ld) {
  const int l = lane_id();
  load_matrices(b, at + ((l & 7) + (l >> 4) * 8) * ld + (l >> 3 & 1) * 8);
}
__device__ inline void b_rows(uint32_t (&b)[4], const uint16_t* at, int ld) {
  const int l = lane_id();
  load_matrices_transposed(b, at + (l & 15) * ld + (l >> 4) * 8);
}

// Two tiles side by side.
__device__ inline void mma_pair(float (&d)[2][4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
  const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
  mma_bf16(d[0], a, left);
  mma_bf16(d[1], a, right);
}

// Accumulators of 16 rows x 64 columns as the left operand of the next product.
__device__ inline void pack_weights(const float (&s)[8][4], uint32_t (&a)[4][4]) {
  FULMEN_UNROLL
  for (int j = 0; j < 4; ++j) FULMEN_UNROLL
  for (int i = 0; i < 4; ++i) a[j][i] = pack_bf16(s[2 * j + i / 2][i % 2 * 2], s[2 * j + i / 2][i % 2 * 2 + 1]);
}

struct Four {
  float x[4];
};
// Four floats; `wide`: at a multiple of 16 bytes.
__device__ inline Four load_four(const float* from, bool wide) {
  Four f;
  if (wide) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    f.x[0] = v.x, f.x[1] = v.y, f.x[2] = v.z, f.x[3] = v.w;
  } else {
    FULMEN_UNROLL
    for (int i = 0; i < 4; ++i) f.x[i] = from[i];
  }
  return f;
}
__device__ inline void store_four_bf16(uint16_t* to, const Four& f) {  // `to` at a multiple of 8 bytes
  auto* words = reinterpret_cast<uint32_t*>(to);
  words[0] = pack_bf16(f.x[0], f.x[1]);
  words[1] = pack_bf16(f.x[2], f.x[3]);
}
__device__ inline void store_two(float* to, float x, float y, bool wide) {
  if (wide)
    *reinterpret_cast<float2*>(to) = {x, y};
  else
    to[0] = x, to[1] = y;
}
// May `rows` with this stride be read in fours?
inline bool wide_rows(const float* first, int64_t ld) {
  return reinterpret_cast<uintptr_t>(first) % 16 == 0 && ld % 4 == 0;
}

}  // namespace fulmen::kernels::cuda
