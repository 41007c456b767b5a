#include <vector>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/entries.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_lines.cuh"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void pack_kernel(const float* src, int64_t ld, int64_t K, int64_t rows_per_block, int64_t N, bool bf16,
                            void* dst) {
  for (int64_t r = 0; r < rows_per_block; ++r) {
    const int64_t n = blockIdx.x * rows_per_block + r;
    if (n >= N) return;
    for (int64_t k = threadIdx.x; k < K; k += kThreads)
      if (bf16)
        static_cast<uint16_t*>(dst)[n * K + k] = to_bf16(src[n * ld + k]);
      else
        static_cast<float*>(dst)[n * K + k] = src[n * ld + k];
  }
}

// The weight's dtype decides: fp32 weights are multiplied in fp32, bf16 weights on the tensor cores.
void multiply(const Product& p, DType weight, State& state) {
  if (p.M == 0 || p.N == 0) return;
  weight == DType::kBf16 ? multiply_bf16(p, state) : multiply_fp32(p, state);
}

Product forward_product(const TensorRef& x, const PackedWeight& w, const TensorRef& y) {
  Product p;
  p.a = x.f32(), p.a_row = x.ld;
  p.b = w.data, p.b_type = w.dtype, p.b_column = w.K;
  p.c = y.f32(), p.c_row = y.ld;
  p.M = x.dim[0], p.N = w.N, p.K = w.K;
  return p;
}

Product dx_product(const TensorRef& dy, const TensorRef& w, const TensorRef& dx, bool accumulate) {
  Product p;
  p.a = dy.f32(), p.a_row = dy.ld;
  p.b = w.data, p.b_type = w.dtype, p.b_k = w.ld, p.b_column = 1;
  p.c = dx.f32(), p.c_row = dx.ld;
  p.M = dy.dim[0], p.N = dx.dim[1], p.K = dy.dim[1];
  p.accumulate = accumulate;
  return p;
}

Product dw_product(const TensorRef& dy, const TensorRef& x, const TensorRef& dw) {
  Product p;
  p.a = dy.f32(), p.a_row = 1, p.a_k = dy.ld;
  p.b = x.f32(), p.b_k = x.ld, p.b_column = 1;
  p.c = dw.f32(), p.c_row = dw.ld;
  p.M = dy.dim[1], p.N = x.dim[1], p.K = dy.dim[0];
  p.accumulate = true;
  return p;
}

void group(Product& p, Groups groups, std::span<const int32_t> offset) {
  p.groups = groups;
  p.experts = static_cast<int>(offset.size()) - 1;
  p.offset = offset.data();
}

}  // namespace

// A packed weight is its own rows, row-major.
void pack_weight(const TensorRef& src, DType dtype, void* dst, Context& ctx) {
  const int64_t rows = 16;
  launch(state_of(ctx), "pack_weight", pack_kernel, dim3(static_cast<unsigned>((src.dim[0] + rows - 1) / rows)),
         kThreads, 0, src.f32(), src.ld, src.dim[1], rows, src.dim[0], dtype == DType::kBf16, dst);
}

void linear_forward(const LinearForward& a, Context& ctx) {
  multiply(forward_product(a.x, a.w, a.y), a.w.dtype, state_of(ctx));
}

void linear_forward_together(std::span<const LinearForward> list, Context& ctx) {
  std::vector<Product> products;
  for (const LinearForward& a : list) products.push_back(forward_product(a.x, a.w, a.y));
  if (list[0].w.dtype == DType::kBf16) return multiply_bf16(products, state_of(ctx));
  for (const Product& p : products) multiply_fp32(p, state_of(ctx));
}

void linear_backward(const LinearBackward& a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  const DType weight = a.w ? a.w.dtype : DType::kF32;
  Product dx, dw;
  if (a.dx) dx = dx_product(a.dy, a.w, a.dx, a.dx_accumulate);
  if (a.dw) dw = dw_product(a.dy, a.x, a.dw);
  if (a.dx && a.dw && weight == DType::kBf16 && fits_tiles(dx) && fits_tiles(dw)) {  // both read dy: rounded once
    round_a_once({&dx, 1}, frame, state);
    dw.a_rounded = dx.a_rounded, dw.a_rounded_row = dx.a_rounded_row;
  }
  if (a.dx) multiply(dx, weight, state);
  if (a.dw) multiply(dw, weight, state);
}

void grouped_linear_forward(const GroupedLinearForward& a, Context& ctx) {
  cuda::grouped_linear_forward_together({&a, 1}, ctx);
}

void grouped_linear_forward_together(std::span<const GroupedLinearForward> list, Context& ctx) {
  State& state = state_of(ctx);
  std::vector<Product> products;
  std::vector<std::vector<const void*>> weights(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    for (const PackedWeight& w : list[i].w) weights[i].push_back(w.data);
    Product p = forward_product(list[i].x, list[i].w.front(), list[i].y);
    group(p, Groups::kRows, list[i].offset);
    p.b_list = state.upload(std::span<const void* const>(weights[i]));
    p.b_host = weights[i].data();
    products.push_back(p);
  }
  if (list[0].w.front().dtype == DType::kBf16) return multiply_bf16(products, state);
  for (const Product& p : products) multiply_fp32(p, state);
}

void grouped_linear_backward(const GroupedLinearBackward& a, Context& ctx) {
  State& state = state_of(ctx);
  const DType weight = a.w.empty() ? DType::kF32 : a.w.front().dtype;
  if (a.dx) {
    std::vector<const void*> weights;
    for (const TensorRef& w : a.w) weights.push_back(w.data);
    Product p = dx_product(a.dy, a.w.front(), a.dx, a.dx_accumulate);
    group(p, Groups::kRows, a.offset);
    p.b_list = state.upload(std::span<const void* const>(weights));
    p.b_host = weights.data();
    multiply(p, weight, state);
  }
  if (a.dw.empty()) return;
  std::vector<float*> gradients;
  for (const TensorRef& g : a.dw) gradients.push_back(g.f32());
  Product p = dw_product(a.dy, a.x, a.dw.front());
  group(p, Groups::kSum, a.offset);
  p.c_list = state.upload(std::span<float* const>(gradients));
  multiply(p, weight, state);
}

}  // namespace fulmen::kernels::cuda
