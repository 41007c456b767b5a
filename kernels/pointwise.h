#pragma once
// Row-wise pieces between the matrix products: embedding, SiLU, SwiGLU, the scaled residual, rounding, RoPE.

#include <span>

#include "kernels/context.h"

namespace fulmen::kernels {

struct EmbeddingForward {
  std::span<const int32_t> tokens;  // (T), each in [0, V): throws naming row, id and V otherwise
  TensorRef table;                  // (V, C)
  TensorRef y;                      // (T, C), written
  // In the device's memory: tokens that the host has not seen (queue_sample_rows). A token t < 0 above stands for
  // sampled[-1 - t]; what has no token there (-1) gets some row.
  std::span<const int32_t> sampled{};
};
void embedding_forward(const EmbeddingForward& a, Context& ctx);
struct EmbeddingBackward {
  std::span<const int32_t> tokens;
  TensorRef dy;      // (T, C)
  TensorRef dtable;  // (V, C), += in row order
};
void embedding_backward(const EmbeddingBackward& a, Context& ctx);

struct Silu {  // y = x * sigmoid(x); y may be x
  TensorRef x, y;
};
void silu_forward(const Silu& a, Context& ctx);
struct SiluBackward {
  TensorRef dy, x;  // x before activation
  TensorRef dx;     // written; may be dy
};
void silu_backward(const SiluBackward& a, Context& ctx);

struct SwiGlu {           // y = silu(gate) * up
  TensorRef gate, up, y;  // (R, F); y may be gate
};
void swiglu_forward(const SwiGlu& a, Context& ctx);
struct SwiGluBackward {
  TensorRef dy, gate, up;
  TensorRef dgate, dup;  // written; dgate may be dy
};
void swiglu_backward(const SwiGluBackward& a, Context& ctx);

struct ScaledAdd {  // y = fma(alpha, x, beta * r) element by element; y may be x or r
  TensorRef x, r, y;
  float alpha = 1, beta = 1;
};
void scaled_add(const ScaledAdd& a, Context& ctx);

// Rounds x (T, C) to bf16 in place (nearest even). The cast point of cached K and V where the cache dtype is bf16.
void round_to_bf16(const TensorRef& x, Context& ctx);

// Partial half-rotation RoPE (m1_spec 3.3) in place on `heads` heads of width D: pairs (i, i + rotary/2), i < rotary/2,
// angle = position * theta^(-2i/rotary), angle, cos and sin in fp64 then cast. Row t of a segment is at pos0 + (t -
// row0).
struct Rope {
  TensorRef x;  // (T, heads*D), in place
  int heads = 0, D = 0, rotary = 0;
  double theta = 1e7;
  std::span<const Segment> segments;
  bool inverse = false;             // backward: rotate by the negative angle
  std::span<const float> angles{};  // of positions 0, 1, ... by rope_angles, in host memory: where it reaches, nothing
                                    // is computed. The same bits. Optional; CUDA has no use for it
};
void rope(const Rope& a, Context& ctx);
// Positions [first, last): for each rotary/2 cosines, then as many sines. On the host.
void rope_angles(double theta, int rotary, int64_t first, int64_t last, float* out);

}  // namespace fulmen::kernels
