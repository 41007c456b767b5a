#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/product_tile.cuh"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;  // 16 x 16, each with kRows / 16 rows and 4 columns of the tile
constexpr int kColumns = 64;
constexpr int kStep = 16;  // of k
constexpr int kPad = 4;

// count lines of kStep values into to[k][line], zero beyond the edges. Threads run along whichever stride is 1.
__device__ void load(const float* from, int64_t line_stride, int64_t k_stride, int lines, int steps, int count,
                     float* to, int ld) {
  for (int i = static_cast<int>(threadIdx.x); i < count * kStep; i += kThreads) {
    const int line = k_stride == 1 ? i / kStep : i % count, k = k_stride == 1 ? i % kStep : i / count;
    to[k * ld + line] = line < lines && k < steps ? from[line * line_stride + k * k_stride] : 0.0f;
  }
}

template <int kRows>
__global__ void __launch_bounds__(kThreads) fp32_kernel(Product p) {
  constexpr int kMine = kRows / 16, kLdA = kRows + kPad, kLdB = kColumns + kPad;
  const Tile t = find_tile(p, kRows, kColumns);
  if (t.rows <= 0) return;
  float *a = shared_memory<float>(), *b = a + kStep * kLdA;
  const int row = static_cast<int>(threadIdx.x) / 16 * kMine, column = static_cast<int>(threadIdx.x) % 16 * 4;
  const float* from_b = static_cast<const float*>(t.b) + t.n0 * p.b_column;

  float sum[kMine][4];
  FULMEN_UNROLL
  for (int i = 0; i < kMine; ++i) FULMEN_UNROLL
  for (int j = 0; j < 4; ++j)
    sum[i][j] = p.accumulate && row + i < t.rows && column + j < t.columns
                    ? t.c[(row + i) * p.c_row + t.n0 + column + j]
                    : 0.0f;
  for (int64_t k0 = 0; k0 < t.K; k0 += kStep) {
    const int steps = static_cast<int>(smaller<int64_t>(kStep, t.K - k0));
    load(t.a + k0 * p.a_k, p.a_row, p.a_k, t.rows, steps, kRows, a, kLdA);
    load(from_b + k0 * p.b_k, p.b_column, p.b_k, t.columns, steps, kColumns, b, kLdB);
    __syncthreads();
    for (int k = 0; k < steps; ++k) {  // never beyond: a product with padding could turn -0 into 0
      float x[kMine], y[4];
      FULMEN_UNROLL
      for (int i = 0; i < kMine; ++i) x[i] = a[k * kLdA + row + i];
      FULMEN_UNROLL
      for (int j = 0; j < 4; ++j) y[j] = b[k * kLdB + column + j];
      FULMEN_UNROLL
      for (int i = 0; i < kMine; ++i) FULMEN_UNROLL
      for (int j = 0; j < 4; ++j) sum[i][j] = fma32(x[i], y[j], sum[i][j]);
    }
    __syncthreads();
  }
  FULMEN_UNROLL
  for (int i = 0; i < kMine; ++i) FULMEN_UNROLL
  for (int j = 0; j < 4; ++j)
    if (row + i < t.rows && column + j < t.columns) t.c[(row + i) * p.c_row + t.n0 + column + j] = sum[i][j];
}

template <int kRows>
void run(const Product& p, State& state) {
  const size_t shared = kStep * (kRows + kColumns + 2 * kPad) * sizeof(float);
  launch(state, "multiply_fp32", fp32_kernel<kRows>, product_grid(p, kRows, kColumns), kThreads, shared, p);
}

}  // namespace

void multiply_fp32(const Product& p, State& state) {
  const bool few = p.M <= 16 || (p.groups == Groups::kRows && p.M <= 16 * p.experts);
  few ? run<16>(p, state) : run<64>(p, state);
}

}  // namespace fulmen::kernels::cuda
