#pragma once
// Hopper's instructions on the CPU (kernels/cuda/hopper.cuh says what they do), asynchronous in the way that shows
// mistakes: a box lands when somebody waits for its barrier, what it will overwrite is NaN until then; wgmma reads its
// operands and writes its sums when it is waited for. Tensor maps, descriptors and swizzle are taken apart bit by bit.

#include "cuda_runtime.h"

struct alignas(128) CUtensorMap {
  uint64_t opaque[16];
};

namespace fulmen::emulation {

uint32_t shared_address(const void* p);  // offset in the block's shared memory

void barrier_init(uint64_t* barrier, int arrivals);
void barrier_arrive(uint64_t* barrier);
void barrier_expect(uint64_t* barrier, uint32_t bytes);
void barrier_wait(uint64_t* barrier, uint32_t parity);
void copy_box(void* to, const CUtensorMap* map, int value, int line, uint64_t* barrier);

void wgmma_fence();
void wgmma_close();
void wgmma_wait(int left);
template <int kLeft>
void wgmma_wait() {
  wgmma_wait(kLeft);
}
void wgmma(float* d, int columns, uint64_t a, uint64_t b, bool transpose_a, bool transpose_b);
template <int kTransposeA, int kTransposeB, int kValues>
void wgmma(float (&d)[kValues], uint64_t a, uint64_t b) {
  wgmma(d, 2 * kValues, a, b, kTransposeA != 0, kTransposeB != 0);
}

// Bits that a wgmma keeps in its sums, 25 as mma.sync. A device that keeps fewer is told by its start-up probe.
void set_wgmma_bits(int bits);

}  // namespace fulmen::emulation
