#pragma once
// What every kernel file sees: the CUDA runtime, a checked launch, shared memory and the one warp instruction we use.
//
// The kernels are plain C++ but for these. tests/cuda_emulation has a cuda_runtime.h of its own, with which g++
// compiles the same files and a CPU runs them thread by thread; so index arithmetic, shared memory and barriers are
// tested on machines without a GPU. Only this file knows the difference.

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "kernels/cuda/state.h"

namespace fulmen::kernels::cuda {

#ifdef __CUDACC__
#define FULMEN_UNROLL _Pragma("unroll")  // for arrays that must stay in registers
#define FULMEN_UNROLL_TWICE _Pragma("unroll 2")

// The block's dynamic shared memory.
__device__ inline unsigned char* shared_bytes() {
  extern __shared__ __align__(128) unsigned char fulmen_shared_memory[];
  return fulmen_shared_memory;
}

// d += a b for a 16x8 tile of a warp, k = 16, bf16 in, fp32 out: mma.sync.m16n8k16. With g = lane / 4, t = lane % 4:
// a[0] holds (row g, k 2t and 2t+1), a[1] row g + 8, a[2] and a[3] the same at k + 8; b[0] (k 2t and 2t+1, column g),
// b[1] at k + 8; d[0], d[1] (row g, columns 2t and 2t+1), d[2], d[3] row g + 8. The lower half of a word is the lower
// k.
__device__ inline void mma_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
#define FULMEN_UNROLL
#define FULMEN_UNROLL_TWICE
using emulation::mma_bf16;
using emulation::shared_bytes;
#endif

template <class T>
__device__ inline T* shared_memory() {
  return reinterpret_cast<T*>(shared_bytes());
}

// Queues kernel<<<grid, threads, shared>>>(arguments...). Throws Error naming the kernel when it cannot be started.
template <class... P, class... A>
void launch(State& state, const char* name, void (*kernel)(P...), dim3 grid, int threads, size_t shared,
            A&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (shared > 48 * 1024)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), name);
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = state.stream();
  check(cudaLaunchKernelEx(&config, kernel, P(arguments)...), name);
}

}  // namespace fulmen::kernels::cuda
