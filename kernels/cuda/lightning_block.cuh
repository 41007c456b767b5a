#pragma once
// Block-aligned lightning attention of one head on the CUDA cores: the formulas of kernels/lightning.h, every chain in
// their order, so the bits are those of the CPU backend. Columns of V (and so of the state and the output) never meet:
// a thread block does `columns` of them, and q K^T again for each.

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/lightning.h"

namespace fulmen::kernels::cuda {

constexpr int kBlock = kLightningBlock;
constexpr int kLightningThreads = 256;
constexpr int kSlice = 32;  // columns of V of a thread block

// Shared memory of a block. The ld of k and q is odd: threads of a warp then read different banks.
struct LightningShared {
  float *k, *q, *v, *state, *p, *pw;
  int ld;

  static __host__ __device__ int64_t floats(int D) {
    return 2 * kBlock * (D + 1) + kBlock * kSlice + D * kSlice + kBlock * (kBlock + 1) + kBlock + 1;
  }
  __device__ LightningShared(float* at, int D) : ld(D + 1) {
    k = at;
    q = k + kBlock * ld;
    v = q + kBlock * ld;
    state = v + kBlock * kSlice;
    p = state + D * kSlice;
    pw = p + kBlock * (kBlock + 1);
  }
};

// S' = pw[64] S + dS of the block whose K and V stand in shared memory. `first`: S was zero and is not read.
__device__ inline void advance_state(const LightningShared& s, int D, int columns, bool first) {
  const int c = static_cast<int>(threadIdx.x) % kSlice;
  if (c < columns)
    for (int x = static_cast<int>(threadIdx.x) / kSlice; x < D; x += kLightningThreads / kSlice) {
      float sum = 0;
      for (int j = 0; j < kBlock; ++j) sum = fma32(s.k[j * s.ld + x] * s.pw[kBlock - 1 - j], s.v[j * kSlice + c], sum);
      float& state = s.state[x * kSlice + c];
      state = fma32(s.pw[kBlock], first ? 0.0f : state, sum);
    }
}

// p[r][j] = (q_r . k_j) pw[i0 + r - j], j <= i0 + r, for rows r < n of the block.
__device__ inline void block_scores(const LightningShared& s, int D, int i0, int n) {
  for (int i = static_cast<int>(threadIdx.x); i < n * kBlock; i += kLightningThreads) {
    const int r = i / kBlock, j = i % kBlock;
    if (j > i0 + r) continue;
    float sum = 0;
    for (int x = 0; x < D; ++x) sum = fma32(s.q[r * s.ld + x], s.k[j * s.ld + x], sum);
    s.p[r * (kBlock + 1) + j] = sum * s.pw[i0 + r - j];
  }
}

// o[r][c] = (q_r . S) pw[i0 + r + 1], then the chain over the block's tokens.
__device__ inline void block_outputs(const LightningShared& s, int D, int columns, int i0, int n, bool has_state,
                                     float* o, int64_t ld_o) {
  const int c = static_cast<int>(threadIdx.x) % kSlice;
  if (c >= columns) return;
  for (int r = static_cast<int>(threadIdx.x) / kSlice; r < n; r += kLightningThreads / kSlice) {
    float sum = 0;
    if (has_state) {
      for (int x = 0; x < D; ++x) sum = fma32(s.q[r * s.ld + x], s.state[x * kSlice + c], sum);
      sum = sum * s.pw[i0 + r + 1];
    }
    for (int j = 0; j <= i0 + r; ++j) sum = fma32(s.p[r * (kBlock + 1) + j], s.v[j * kSlice + c], sum);
    o[r * ld_o + c] = sum;
  }
}

struct HeadRows {  // rows of one head; a negative ld walks a sequence backwards. v and o start at the slice
  const float *q, *k, *v;
  float* o;
  int64_t ld_q, ld_k, ld_v, ld_o;
};

struct HeadSlot {  // of a cache, null without one: state (D, D), K and V of the current block (64, D). v at the slice
  float* state = nullptr;
  float *k = nullptr, *v = nullptr;
};

// Tokens pos0 .. pos0 + rows - 1. Reads the slot, writes its state; K and V are appended by append_kernel, once every
// slice has read what stood there.
__device__ inline void lightning_head(const LightningShared& s, const HeadRows& in, const HeadSlot& slot, int c0,
                                      int columns, int D, int64_t pos0, int64_t rows) {
  const int tid = static_cast<int>(threadIdx.x);
  if (slot.state != nullptr && pos0 > 0) {
    const int kept = static_cast<int>((pos0 - 1) % kBlock) + 1;  // tokens whose K and V the slot holds
    for (int i = tid; i < kept * D; i += kLightningThreads) s.k[i / D * s.ld + i % D] = slot.k[i];
    for (int i = tid; i < kept * columns; i += kLightningThreads)
      s.v[i / columns * kSlice + i % columns] = slot.v[i / columns * D + i % columns];
    if (pos0 > kBlock)
      for (int i = tid; i < D * columns; i += kLightningThreads)
        s.state[i / columns * kSlice + i % columns] = slot.state[i / columns * D + c0 + i % columns];
  }
  for (int64_t done = 0; done < rows;) {
    const int64_t pos = pos0 + done;
    const int i0 = static_cast<int>(pos % kBlock);
    const int n = static_cast<int>(rows - done < kBlock - i0 ? rows - done : kBlock - i0);
    __syncthreads();
    if (i0 == 0 && pos > 0) {
      advance_state(s, D, columns, pos == kBlock);
      __syncthreads();
    }
    for (int i = tid; i < n * D; i += kLightningThreads) {
      const int r = i / D, x = i % D;
      s.q[r * s.ld + x] = in.q[(done + r) * in.ld_q + x];
      s.k[(i0 + r) * s.ld + x] = in.k[(done + r) * in.ld_k + x];
    }
    for (int i = tid; i < n * columns; i += kLightningThreads)
      s.v[(i0 + i / columns) * kSlice + i % columns] = in.v[(done + i / columns) * in.ld_v + i % columns];
    __syncthreads();
    block_scores(s, D, i0, n);
    __syncthreads();
    block_outputs(s, D, columns, i0, n, pos >= kBlock, in.o + done * in.ld_o, in.ld_o);
    done += n;
  }
  __syncthreads();
  if (slot.state != nullptr && (pos0 + rows - 1) / kBlock > (pos0 > 0 ? (pos0 - 1) / kBlock : 0))  // it has advanced
    for (int i = tid; i < D * columns; i += kLightningThreads)
      slot.state[i / columns * D + c0 + i % columns] = s.state[i / columns * kSlice + i % columns];
}

}  // namespace fulmen::kernels::cuda
