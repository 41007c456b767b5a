#pragma once
// One matrix product C = [C +] A B with arbitrary strides, alone or once per expert. Two kernels compute it:
//
//   multiply_fp32    one fma chain over ascending k per element on the CUDA cores: the bits of the CPU backend
//   multiply_bf16    A and B rounded to bf16, 16 products at a time on the tensor cores with one fp32 accumulator over
//                    ascending k: mma.sync m16n8k16, or wgmma where the device gives equal bits (product_wgmma.h)
//
// In all, an element depends on its row of A, its column of B and (with accumulate) itself alone: tiles are free, so
// few rows (decode) take small tiles and many rows large ones, with equal bits.
//
// The sum over k is not split. A tree of partial sums would give decode more blocks when K is large, but all kernels
// must then share it: the tiles of many rows would hold one more accumulator for each level that is open (wgmma has 128
// of its 240 registers in one) and add it up in fp32 outside of the tensor cores. Decode has other ways to ask for its
// weights early enough, which is what blocks are for: at 3 TB/s and 0.7 us of latency, 2.1 MB must be on their way.
// The kernel of few rows gives, on an H100's 132 multiprocessors (plan_few; asserted in cuda_product_test.cc):
//
//   decode product       (N, K) of G1, 1.8 B      blocks   on their way    of M1          blocks    on their way
//   qkv + output gate    3072 + 1024, 1024        256      8.4 of 8.4 MB   32768, 6144    1024      > 20 MB
//   attention out        1024, 1024               64       2.1 of 2.1 MB   6144, 8192     384       18 of 101 MB
//   q, k, v (softmax)    1536, 1024               96       3.1 of 3.1 MB   10240, 6144    320       14 of 126 MB
//   w1 + w3, 1 row       2 x (2048, 1024)         256      8.4 of 8.4 MB   2 x 18432      1152      > 20 MB
//   w2, 1 row            2 x (1024, 1024)         128      4.2 of 4.2 MB   2 x 6144       384       17 of 226 MB
//
// Only three of G1 have fewer blocks than multiprocessors, and all of their weights are asked for in the first instant:
// a split could hide part of about 1 us in those, at the price of a second phase. With the sizes it was made for, M1's,
// nothing is idle.
//
// A third source of many rows is a library (cuBLASLt), for the shapes where this device showed at start-up that it has
// these very bits: product_library.h.

#include <cstdint>
#include <span>

#include "kernels/cuda/state.h"
#include "kernels/types.h"

namespace fulmen::kernels::cuda {

enum class Groups : int32_t {
  kNone,
  kRows,  // rows [offset[e], offset[e+1]) of A and C belong to expert e, whose B is b_list[e]
  kSum,   // the sum over k runs over rows [offset[e], offset[e+1]) of A and B; C is c_list[e]
};

struct Product {
  const float* a = nullptr;  // A(m, k) at a[m * a_row + k * a_k]
  int64_t a_row = 0, a_k = 1;
  const uint16_t* a_rounded = nullptr;  // a in bf16, lines of a_rounded_row, along or across k as a; may be absent
  int64_t a_rounded_row = 0;
  const void* b = nullptr;  // B(k, n) at b[k * b_k + n * b_column]
  DType b_type = DType::kF32;
  int64_t b_k = 1, b_column = 0;
  float* c = nullptr;  // C(m, n) at c[m * c_row + n]
  int64_t c_row = 0;
  int64_t M = 0, N = 0, K = 0;  // kRows: M of all experts; kSum: K of all experts
  bool accumulate = false;

  Groups groups = Groups::kNone;
  int experts = 0;
  const int32_t* offset = nullptr;  // device memory, as the lists
  const void* const* b_list = nullptr;
  float* const* c_list = nullptr;
  const void* const* b_host = nullptr;  // b_list again, in the host's memory, while the call lasts
};

void multiply_fp32(const Product& p, State& state);
void multiply_bf16(const Product& p, State& state);
void multiply_mma(const Product& p, State& state);        // mma.sync, any product, tiles of 64 x 64
void multiply_mma_tiles(const Product& p, State& state);  // mma.sync, p fits_tiles: 128 x 128
bool fits_tiles(const Product& p);  // is it worth tiles of 128 rows, and can its operands be lines (product_lines.cuh)?
void multiply_bf16(std::span<const Product> list, State& state);  // of the same a, M, K and groups

// Tiles of rows to launch: each expert's last tile may be partial.
inline int64_t row_tiles(const Product& p, int tile) {
  const int64_t tiles = (p.M + tile - 1) / tile;
  return p.groups == Groups::kRows ? tiles + p.experts - 1 : tiles;
}

}  // namespace fulmen::kernels::cuda
