#include <algorithm>
#include <vector>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/product_few.h"
#include "kernels/cuda/product_library.h"
#include "kernels/cuda/product_lines.cuh"
#include "kernels/cuda/product_tile.cuh"
#include "kernels/cuda/product_wgmma.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 128;  // 4 warps
constexpr int kColumns = 64;
constexpr int kStep = 32;       // of k: two mma steps
constexpr int kLd = kStep + 8;  // 20 words: the 32 words of a fragment lie in 32 banks
constexpr int kLdWords = kLd / 2;

__device__ uint16_t rounded(float x) { return to_bf16(x); }
__device__ uint16_t rounded(uint16_t x) { return x; }

// kLines lines of kStep values: fetched into registers, stored as bf16 to[line][k] later, so that the fetch overlaps
// the products in between. Zero beyond the edges, which changes no accumulator. Threads of a warp run along whichever
// stride is 1; each then goes on in steps of one address.
template <int kLines, class T>
struct Fetch {
  static constexpr int kMine = kLines * kStep / kThreads;
  static constexpr int kLineStep = kThreads / kStep, kKStep = kThreads / kLines;
  uint16_t value[kMine];

  __device__ void fetch(const T* from, int64_t line_stride, int64_t k_stride, int lines, int steps) {
    const int tid = static_cast<int>(threadIdx.x);
    const bool along_k = k_stride == 1;
    const int line = along_k ? tid / kStep : tid % kLines, k = along_k ? tid % kStep : tid / kLines;
    const T* at = from + line * line_stride + k * k_stride;
    const int64_t step = along_k ? kLineStep * line_stride : kKStep * k_stride;
    // Values that are inside, counted from this thread's first.
    const int inside = along_k ? (k < steps ? (lines - line + kLineStep - 1) / kLineStep : 0)
                               : (line < lines ? (steps - k + kKStep - 1) / kKStep : 0);
    FULMEN_UNROLL
    for (int i = 0; i < kMine; ++i) {
      value[i] = i < inside ? rounded(*at) : uint16_t{0};
      at += step;
    }
  }
  __device__ void store(bool along_k, uint16_t* to) const {
    const int tid = static_cast<int>(threadIdx.x);
    to += along_k ? tid / kStep * kLd + tid % kStep : tid % kLines * kLd + tid / kLines;
    const int step = along_k ? kLineStep * kLd : kKStep;
    FULMEN_UNROLL
    for (int i = 0; i < kMine; ++i) to[i * step] = value[i];
  }
};

// Warps: 2 x 2 of 32 x 32 for 64 rows, 1 x 4 of 16 x 16 for 16 rows.
template <int kRows, class T>
__global__ void __launch_bounds__(kThreads) bf16_kernel(Product p) {
  constexpr int kWarpsDown = kRows == 64 ? 2 : 1, kWarpRows = kRows / kWarpsDown,
                kWarpColumns = kColumns * kWarpsDown / 4;
  constexpr int kDown = kWarpRows / 16, kAcross = kWarpColumns / 8;
  const Tile t = find_tile(p, kRows, kColumns);
  if (t.rows <= 0) return;
  auto* a = shared_memory<uint16_t>();
  uint16_t* b = a + kRows * kLd;
  const auto *a_words = reinterpret_cast<const uint32_t*>(a), *b_words = reinterpret_cast<const uint32_t*>(b);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int g = lane / 4, q = lane % 4;
  const int row0 = warp % kWarpsDown * kWarpRows, column0 = warp / kWarpsDown * kWarpColumns;
  const T* from_b = static_cast<const T*>(t.b) + t.n0 * p.b_column;

  float sum[kDown][kAcross][4] = {};
  Fetch<kRows, float> next_a;
  Fetch<kColumns, T> next_b;
  const auto fetch = [&](int64_t k0) {
    const int steps = static_cast<int>(smaller<int64_t>(kStep, t.K - k0));
    next_a.fetch(t.a + k0 * p.a_k, p.a_row, p.a_k, t.rows, steps);
    next_b.fetch(from_b + k0 * p.b_k, p.b_column, p.b_k, t.columns, steps);
  };
  fetch(0);
  for (int64_t k0 = 0; k0 < t.K; k0 += kStep) {
    next_a.store(p.a_k == 1, a);
    next_b.store(p.b_k == 1, b);
    __syncthreads();
    if (k0 + kStep < t.K) fetch(k0 + kStep);
    for (int k = 0; k < kStep / 2; k += 8) {  // in words; 16 values
      uint32_t x[kDown][4], y[kAcross][2];
      FULMEN_UNROLL
      for (int i = 0; i < kDown; ++i) {
        const uint32_t* at = a_words + (row0 + 16 * i + g) * kLdWords + k + q;
        x[i][0] = at[0], x[i][1] = at[8 * kLdWords], x[i][2] = at[4], x[i][3] = at[8 * kLdWords + 4];
      }
      FULMEN_UNROLL
      for (int j = 0; j < kAcross; ++j) {
        const uint32_t* at = b_words + (column0 + 8 * j + g) * kLdWords + k + q;
        y[j][0] = at[0], y[j][1] = at[4];
      }
      FULMEN_UNROLL
      for (int i = 0; i < kDown; ++i) FULMEN_UNROLL
      for (int j = 0; j < kAcross; ++j) mma_bf16(sum[i][j], x[i], y[j]);
    }
    __syncthreads();
  }
  FULMEN_UNROLL
  for (int i = 0; i < kDown; ++i) FULMEN_UNROLL
  for (int j = 0; j < kAcross; ++j) FULMEN_UNROLL
  for (int n = 0; n < 4; ++n) {
    const int row = row0 + 16 * i + g + n / 2 * 8, column = column0 + 8 * j + 2 * q + n % 2;
    if (row >= t.rows || column >= t.columns) continue;
    float& c = t.c[row * p.c_row + t.n0 + column];
    c = p.accumulate ? c + sum[i][j][n] : sum[i][j][n];
  }
}

template <int kRows, class T>
void run(const Product& p, State& state) {
  const size_t shared = (kRows + kColumns) * kLd * sizeof(uint16_t);
  launch(state, "multiply_bf16", bf16_kernel<kRows, T>, product_grid(p, kRows, kColumns), kThreads, shared, p);
}

}  // namespace

void multiply_mma(const Product& p, State& state) {
  const bool few = p.M <= 16 || (p.groups == Groups::kRows && p.M <= 16 * p.experts);
  if (p.b_type == DType::kF32)
    few ? run<16, float>(p, state) : run<64, float>(p, state);
  else
    few ? run<16, uint16_t>(p, state) : run<64, uint16_t>(p, state);
}

void multiply_bf16(const Product& p, State& state) {
  if (fits_few(p)) return multiply_few({&p, 1}, state);
  if (state.library() != nullptr && state.library()->multiply(p, state)) return;
  if (!fits_tiles(p)) return multiply_mma(p, state);
  state.wgmma_admitted() ? multiply_wgmma(p, state) : multiply_mma_tiles(p, state);
}

void multiply_bf16(std::span<const Product> list, State& state) {
  if (std::all_of(list.begin(), list.end(), fits_few)) return multiply_few(list, state);
  State::Frame frame(state);
  std::vector<Product> products(list.begin(), list.end());
  if (std::all_of(list.begin(), list.end(), fits_tiles)) round_a_once(products, frame, state);
  for (const Product& p : products) multiply_bf16(p, state);
}

}  // namespace fulmen::kernels::cuda
