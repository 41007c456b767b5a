#include "kernels/cuda/product_lines.cuh"
#include "kernels/cuda/tensor.cuh"

namespace fulmen::kernels::cuda {
namespace {

bool in_place(const Operand& o, const void* from) {
  return o.type == DType::kBf16 && o.line_stride % 8 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
}

// Grid: lines of the copy. Rounds a line to bf16.
template <class T>
__global__ void lines_kernel(const T* from, int64_t stride, int64_t width, uint16_t* to, int64_t to_stride, int experts,
                             const int32_t* offset, bool wide) {
  int64_t line = blockIdx.x;
  bool real = true;
  if (offset != nullptr) {
    int64_t at = 0;
    int e = 0;
    for (; e < experts && line >= at + padded(offset[e + 1] - offset[e]); ++e) at += padded(offset[e + 1] - offset[e]);
    real = e < experts && line - at < offset[e + 1] - offset[e];
    line = real ? offset[e] + line - at : 0;
  }
  uint16_t* out = to + static_cast<int64_t>(blockIdx.x) * to_stride;
  const T* in = from + line * stride;
  int64_t done = 0;
  if constexpr (sizeof(T) == 4)
    if (wide && real) {
      done = width / 4 * 4;
      for (int64_t i = 4 * threadIdx.x; i < done; i += 4 * blockDim.x)
        store_four_bf16(out + i, load_four(in + i, true));
    }
  for (int64_t i = done + threadIdx.x; i < width; i += blockDim.x)
    out[i] = real ? narrow<uint16_t>(widen(in[i])) : uint16_t{0};
}

}  // namespace

Operand left_operand(const Product& p) {
  const bool along = p.a_k == 1;
  if (p.a_rounded != nullptr)
    return {p.a_rounded, DType::kBf16, p.a_rounded_row, along ? p.M : p.K, along ? p.K : p.M, along};
  return {p.a, DType::kF32, along ? p.a_row : p.a_k, along ? p.M : p.K, along ? p.K : p.M, along};
}
Operand right_operand(const Product& p) {
  const bool along = p.b_k == 1;
  return {p.b, p.b_type, along ? p.b_column : p.b_k, along ? p.N : p.K, along ? p.K : p.N, along};
}

Lines make_lines(const Operand& o, const Product& p, State::Frame& frame, State& state) {
  const bool sum = p.groups == Groups::kSum;
  if (!sum && in_place(o, o.from)) return {o.from, o.line_stride, o.lines, o.width};
  const int64_t lines = sum ? o.lines + static_cast<int64_t>(p.experts) * (kLineStep - 1) : o.lines;
  const int64_t stride = (o.width + 7) / 8 * 8;
  auto* to = frame.take<uint16_t>(lines * stride);
  const dim3 grid(static_cast<unsigned>(lines));
  const int32_t* offset = sum ? p.offset : nullptr;
  if (o.type == DType::kF32)
    launch(state, "product: round", lines_kernel<float>, grid, 256, 0, static_cast<const float*>(o.from), o.line_stride,
           o.width, to, stride, p.experts, offset, wide_rows(static_cast<const float*>(o.from), o.line_stride));
  else
    launch(state, "product: copy", lines_kernel<uint16_t>, grid, 256, 0, static_cast<const uint16_t*>(o.from),
           o.line_stride, o.width, to, stride, p.experts, offset, false);
  return {to, stride, lines, o.width};
}

bool fits_tiles(const Product& p) {
  constexpr int64_t kLimit = int64_t{1} << 31;  // the copy engine counts in 32 bits
  if (p.M < 64 || p.N < 64 || p.K < kLineStep || p.M >= kLimit || p.N >= kLimit || p.K >= kLimit) return false;
  if ((p.a_k != 1 && p.a_row != 1) || (p.b_k != 1 && p.b_column != 1)) return false;
  if (p.groups == Groups::kSum) return p.a_k != 1 && p.b_k != 1;  // lines are rows of the batch
  if (p.groups == Groups::kRows) {
    if (p.M < 64 * p.experts || p.a_k != 1) return false;
    const Operand b = right_operand(p);
    for (int e = 0; e < p.experts; ++e)
      if (!in_place(b, p.b_host[e])) return false;
  }
  return true;
}

void round_a_once(std::span<Product> list, State::Frame& frame, State& state) {
  if (list[0].a_k != 1) return;
  const Lines a = make_lines(left_operand(list[0]), list[0], frame, state);
  for (Product& p : list) p.a_rounded = static_cast<const uint16_t*>(a.data), p.a_rounded_row = a.stride;
}

}  // namespace fulmen::kernels::cuda
