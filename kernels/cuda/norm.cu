#include <cmath>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = kRowThreads * kBlockRows;

struct Norm {  // g absent: no gate
  const float *x, *g, *w, *dy;
  float *y, *dx, *dg, *dw;
  int64_t ld_x, ld_g, ld_dy, ld_y, ld_dx, ld_dg;
  int64_t T, C;
  float eps;
  float *rstd, *slope;  // (T), between the two passes of backward
};

// Which row a thread works on, and as which of the 64. A block at the end has groups without a row; they only keep
// the barriers.
struct Place {
  int j = static_cast<int>(threadIdx.x) % kRowThreads, group = static_cast<int>(threadIdx.x) / kRowThreads;
  int64_t row = static_cast<int64_t>(blockIdx.x) * kBlockRows + group;
};

__device__ float reciprocal_rms(const float* x, int64_t C, float eps, bool present, const Place& at, float* memory) {
  float chain = 0;
  if (present)
    for (int64_t c = at.j; c < C; c += kRowThreads) chain = fma32(x[c], x[c], chain);
  return 1.0f / sqrtf(sum_of_64(chain, memory, at.j) / static_cast<float>(C) + eps);
}

__global__ void forward_kernel(Norm a) {
  const Place at;
  float* memory = shared_memory<float>() + at.group * kRowThreads;
  const bool present = at.row < a.T;
  const float* x = a.x + at.row * a.ld_x;
  const float rstd = reciprocal_rms(x, a.C, a.eps, present, at, memory);
  if (!present) return;
  for (int64_t c = at.j; c < a.C; c += kRowThreads) {
    float v = (x[c] * rstd) * a.w[c];
    if (a.g != nullptr) v = sigmoid32(a.g[at.row * a.ld_g + c]) * v;
    a.y[at.row * a.ld_y + c] = v;
  }
}

// rstd and slope = rstd^3 / C * sum_c d x of each row, d the gradient after the weight.
__global__ void terms_kernel(Norm a) {
  const Place at;
  float* memory = shared_memory<float>() + at.group * kRowThreads;
  const bool present = at.row < a.T;
  const float* x = a.x + at.row * a.ld_x;
  const float rstd = reciprocal_rms(x, a.C, a.eps, present, at, memory);
  float chain = 0;
  if (present)
    for (int64_t c = at.j; c < a.C; c += kRowThreads) {
      float d = a.dy[at.row * a.ld_dy + c];
      if (a.g != nullptr) d = d * sigmoid32(a.g[at.row * a.ld_g + c]);
      chain = fma32(d * a.w[c], x[c], chain);
    }
  const float dot = sum_of_64(chain, memory, at.j);
  if (present && at.j == 0) {
    a.rstd[at.row] = rstd;
    a.slope[at.row] = rstd * rstd * rstd / static_cast<float>(a.C) * dot;
  }
}

// Gradients of the rows. Grid: rows.
__global__ void input_kernel(Norm a) {
  const int64_t t = blockIdx.x;
  const float rstd = a.rstd[t], slope = a.slope[t];
  for (int64_t c = threadIdx.x; c < a.C; c += kThreads) {
    const float x = a.x[t * a.ld_x + c], w = a.w[c];
    float d = a.dy[t * a.ld_dy + c];
    if (a.g != nullptr) {
      const float s = sigmoid32(a.g[t * a.ld_g + c]);
      a.dg[t * a.ld_dg + c] = (d * ((x * rstd) * w)) * (s * (1.0f - s));
      d = d * s;
    }
    a.dx[t * a.ld_dx + c] = fma32(-x, slope, rstd * (d * w));
  }
}

// dw is one chain over the rows for each column. A block has 32 columns; all its threads fetch the next rows while one
// warp adds up those that stand in shared memory.
constexpr int kChainColumns = 32, kChainRows = 64;
constexpr int kMine = kChainRows * kChainColumns / kThreads;  // values of a thread

__global__ void __launch_bounds__(kThreads) weight_kernel(Norm a) {
  const int tid = static_cast<int>(threadIdx.x), column = tid % kChainColumns, row = tid / kChainColumns;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kChainColumns + column;
  float *d_rows = shared_memory<float>(), *normed_rows = d_rows + kChainRows * kChainColumns;
  float dw = row == 0 && c < a.C ? a.dw[c] : 0.0f, d[kMine], normed[kMine];
  const auto fetch = [&](int64_t first) {
    FULMEN_UNROLL
    for (int i = 0; i < kMine; ++i) {
      const int64_t t = first + row + i * (kThreads / kChainColumns);
      d[i] = normed[i] = 0;
      if (t >= a.T || c >= a.C) continue;
      normed[i] = a.x[t * a.ld_x + c] * a.rstd[t];
      d[i] = a.dy[t * a.ld_dy + c];
      if (a.g != nullptr) d[i] = d[i] * sigmoid32(a.g[t * a.ld_g + c]);
    }
  };
  fetch(0);
  for (int64_t first = 0; first < a.T; first += kChainRows) {
    __syncthreads();  // the rows before are added up
    FULMEN_UNROLL
    for (int i = 0; i < kMine; ++i) d_rows[i * kThreads + tid] = d[i], normed_rows[i * kThreads + tid] = normed[i];
    __syncthreads();
    if (first + kChainRows < a.T) fetch(first + kChainRows);
    if (row != 0) continue;
    const int rows = static_cast<int>(a.T - first < kChainRows ? a.T - first : kChainRows);
    for (int r = 0; r < rows; ++r)
      dw = fma32(d_rows[r * kChainColumns + column], normed_rows[r * kChainColumns + column], dw);
  }
  if (row == 0 && c < a.C) a.dw[c] = dw;
}

dim3 row_blocks(int64_t T) { return dim3(static_cast<unsigned>((T + kBlockRows - 1) / kBlockRows)); }

void forward(const TensorRef& x, const TensorRef& g, const TensorRef& w, const TensorRef& y, float eps, Context& ctx) {
  Norm a{};
  a.x = x.f32(), a.ld_x = x.ld, a.g = g.f32(), a.ld_g = g.ld, a.w = w.f32(), a.y = y.f32(), a.ld_y = y.ld;
  a.T = x.dim[0], a.C = x.dim[1], a.eps = eps;
  launch(state_of(ctx), "rmsnorm_forward", forward_kernel, row_blocks(a.T), kThreads, kThreads * sizeof(float), a);
}

void backward(Norm a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  a.rstd = frame.take<float>(a.T), a.slope = frame.take<float>(a.T);
  launch(state, "rmsnorm_backward: sums", terms_kernel, row_blocks(a.T), kThreads, kThreads * sizeof(float), a);
  launch(state, "rmsnorm_backward: weight", weight_kernel,
         dim3(static_cast<unsigned>((a.C + kChainColumns - 1) / kChainColumns)), kThreads,
         2 * kChainRows * kChainColumns * sizeof(float), a);
  launch(state, "rmsnorm_backward: rows", input_kernel, dim3(static_cast<unsigned>(a.T)), kThreads, 0, a);
}

}  // namespace

void rmsnorm_forward(const RmsNormForward& a, Context& ctx) { forward(a.x, {}, a.w, a.y, a.eps, ctx); }
void gated_rmsnorm_forward(const GatedRmsNormForward& a, Context& ctx) { forward(a.x, a.g, a.w, a.y, a.eps, ctx); }

void rmsnorm_backward(const RmsNormBackward& b, Context& ctx) {
  Norm a{};
  a.x = b.x.f32(), a.ld_x = b.x.ld, a.dy = b.dy.f32(), a.ld_dy = b.dy.ld, a.w = b.w.f32();
  a.dx = b.dx.f32(), a.ld_dx = b.dx.ld, a.dw = b.dw.f32(), a.T = b.x.dim[0], a.C = b.x.dim[1], a.eps = b.eps;
  backward(a, ctx);
}

void gated_rmsnorm_backward(const GatedRmsNormBackward& b, Context& ctx) {
  Norm a{};
  a.x = b.x.f32(), a.ld_x = b.x.ld, a.dy = b.dy.f32(), a.ld_dy = b.dy.ld, a.w = b.w.f32();
  a.g = b.g.f32(), a.ld_g = b.g.ld, a.dg = b.dg.f32(), a.ld_dg = b.dg.ld;
  a.dx = b.dx.f32(), a.ld_dx = b.dx.ld, a.dw = b.dw.f32(), a.T = b.x.dim[0], a.C = b.x.dim[1], a.eps = b.eps;
  backward(a, ctx);
}

}  // namespace fulmen::kernels::cuda
