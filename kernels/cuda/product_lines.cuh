#pragma once
// Operands of the large-tile products as lines of bf16 in device memory: rounded once before the product, or the weight
// itself. So tiles are plain copies.

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/product.h"

namespace fulmen::kernels::cuda {

// Along k, a line is a row (or column) and its values are k; across k, a line is k and its values are rows.
struct Operand {
  const void* from = nullptr;
  DType type = DType::kF32;
  int64_t line_stride = 0, lines = 0, width = 0;
  bool along_k = true;
};
Operand left_operand(const Product& p);
Operand right_operand(const Product& p);

struct Lines {  // data at a multiple of 16 bytes, stride of 8 values
  const void* data;
  int64_t stride, lines, width;
};
Lines make_lines(const Operand& o, const Product& p, State::Frame& frame, State& state);

constexpr int kLineStep = 64;  // of k, at once

// Where the sum over k runs over the rows of an expert, every expert's lines begin at a multiple of kLineStep in the
// copy, zero between: steps never reach into the next.
__device__ inline int64_t padded(int64_t count) { return (count + kLineStep - 1) / kLineStep * kLineStep; }
__device__ inline int64_t first_line(const Product& p, int expert) {
  int64_t first = 0;
  if (p.groups == Groups::kSum)
    for (int e = 0; e < expert; ++e) first += padded(p.offset[e + 1] - p.offset[e]);
  return first;
}

// Products of the same a: rounds it once for all.
void round_a_once(std::span<Product> list, State::Frame& frame, State& state);

}  // namespace fulmen::kernels::cuda
