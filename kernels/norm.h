#pragma once
// RMSNorm over the last dimension, and the output norm of lightning attention with its gate.
//
//   rstd[t] = 1 / sqrt(mean_c x[t,c]^2 + eps)      y[t,c] = (x[t,c] * rstd[t]) * w[c]
//   gated:    y[t,c] = sigmoid(g[t,c]) * ((x[t,c] * rstd[t]) * w[c])            (m1_spec 3.2: one norm over all heads)
//
// The sum over c has the fixed pattern of row_sum (kernels/cpu/simd.h). y may be x. Backward recomputes rstd.
// dw is one fma chain over rows, continued in memory.

#include "kernels/context.h"

namespace fulmen::kernels {

struct RmsNormForward {
  TensorRef x;  // (T, C)
  TensorRef w;  // (C)
  TensorRef y;  // (T, C), written
  float eps = 1e-5f;
};
void rmsnorm_forward(const RmsNormForward& a, Context& ctx);

struct RmsNormBackward {
  TensorRef dy, x;  // (T, C)
  TensorRef w;      // (C)
  TensorRef dx;     // (T, C), written; may be dy
  TensorRef dw;     // (C), +=
  float eps = 1e-5f;
};
void rmsnorm_backward(const RmsNormBackward& a, Context& ctx);

struct GatedRmsNormForward {
  TensorRef x, g;  // (T, C); g before the sigmoid
  TensorRef w;     // (C)
  TensorRef y;     // (T, C), written; may be x
  float eps = 1e-6f;
};
void gated_rmsnorm_forward(const GatedRmsNormForward& a, Context& ctx);

struct GatedRmsNormBackward {
  TensorRef dy, x, g;  // (T, C)
  TensorRef w;         // (C)
  TensorRef dx, dg;    // (T, C), written; dx may be dy
  TensorRef dw;        // (C), +=
  float eps = 1e-6f;
};
void gated_rmsnorm_backward(const GatedRmsNormBackward& a, Context& ctx);

}  // namespace fulmen::kernels
