#pragma once
// Global gradient norm and AdamW (Loshchilov and Hutter, arXiv 1711.05101), over a list of tensors as flat fp32 arrays.
//
// norm: per tensor, chunks of 4096 elements by row_sum (fp32), chunk sums added in fp64 in order. Threads change no
// bit. AdamW: g' = g * grad_scale;  m = b1 m + (1-b1) g';  v = b2 v + (1-b2) g'^2;
//        p = p - lr * ( (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + weight_decay * p )
// M1: betas 0.9, 0.95, eps 1e-15 (gradients down to 1e-18; FTZ keeps normals >= 1.2e-38: v is not flushed for |g| >
// 1e-18)

#include <span>

#include "kernels/context.h"

namespace fulmen::kernels {

double global_sum_of_squares(std::span<const TensorRef> grads, Context& ctx);  // each rank 1, f32

struct AdamW {
  TensorRef param, grad, m, v;  // (n) each; param, m, v updated in place; grad zeroed in the same pass when zero_grad
  float lr = 0, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-15f, weight_decay = 0;
  float grad_scale = 1;  // min(1, max_norm / norm), fused into the read
  int64_t step = 1;      // t, from 1
  bool zero_grad = true;
};
void adamw_step(std::span<const AdamW> tensors, Context& ctx);

}  // namespace fulmen::kernels
