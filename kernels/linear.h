#pragma once
// Linear layers without bias, y = x W^T, W in the Hugging Face layout (N, K), and the grouped form for experts.
//
// Row-invariant: every y[t][n] is ONE fma chain over k = 0..K-1 starting at 0 (fp32 accumulation, weights f32 or bf16
// widened exactly). Neither the number of rows, nor tiling, nor threads enter the arithmetic, so a row alone equals the
// row in any batch. Weights are packed once per weights version: panels of 32 outputs, [ceil(N/32)][K][32], zero
// padded. Gradients: dx is written; dw is one fma chain over rows continued in memory (dw +=), so any split of the same
// rows in the same order into calls gives the same bits (micro-batches). Aliasing: outputs may not overlap inputs.
// Backward needs W unpacked (f32 or bf16, the values forward used).

#include <span>

#include "kernels/context.h"

namespace fulmen::kernels {

inline constexpr int64_t kPanel = 32;

struct PackedWeight {  // view, not owned; data 64-byte aligned
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t N = 0, K = 0;
};
size_t packed_bytes(int64_t N, int64_t K, DType dtype);
bool packed_is_rows(
    const Context& ctx);  // is a packed weight simply (N, K) in its dtype? So on CUDA; panels on the CPU

// src (N, K) f32 -> panels at dst (packed_bytes). bf16: rounded to nearest even.
void pack_weight(const TensorRef& src, DType dtype, void* dst, Context& ctx);

struct LinearForward {
  TensorRef x;     // (T, K)
  PackedWeight w;  // (N, K)
  TensorRef y;     // (T, N), written
};
void linear_forward(const LinearForward& a, Context& ctx);
// Up to kMaxTogether products of the same x: x is read once, and threads meet once. The bits of one by one.
inline constexpr size_t kMaxTogether = 3;
void linear_forward_together(std::span<const LinearForward> list, Context& ctx);

struct LinearBackward {
  TensorRef dy;                // (T, N)
  TensorRef x;                 // (T, K); needed for dw
  TensorRef w;                 // (N, K) f32 or bf16; needed for dx
  TensorRef dx;                // (T, K), written; optional
  bool dx_accumulate = false;  // dx += instead
  TensorRef dw;                // (N, K), +=; optional
};
void linear_backward(const LinearBackward& a, Context& ctx);

// Rows of x sorted by expert: expert e owns rows [offset[e], offset[e+1]).
struct GroupedLinearForward {
  TensorRef x;                      // (R, K)
  std::span<const int32_t> offset;  // E + 1, offset[E] = R; device memory (dispatch)
  std::span<const PackedWeight> w;  // E of (N, K)
  TensorRef y;                      // (R, N), written
};
void grouped_linear_forward(const GroupedLinearForward& a, Context& ctx);
void grouped_linear_forward_together(std::span<const GroupedLinearForward> list, Context& ctx);  // same x and offset

struct GroupedLinearBackward {
  TensorRef dy;                     // (R, N)
  TensorRef x;                      // (R, K)
  std::span<const int32_t> offset;  // E + 1
  std::span<const TensorRef> w;     // E of (N, K)
  TensorRef dx;                     // (R, K), written; optional
  bool dx_accumulate = false;
  std::span<const TensorRef> dw;  // E of (N, K), +=; may be empty
};
void grouped_linear_backward(const GroupedLinearBackward& a, Context& ctx);

}  // namespace fulmen::kernels
