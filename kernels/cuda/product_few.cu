// bf16 products of a few rows (decode, and experts that get a few tokens): the time is that of reading the weights
// once.
//
// Rows and columns change places: 16 or 32 rows of the weights are the left operand of mma.sync, 8 to 32 tokens the
// right one, so little is padded; products commute, so the bits are those of the large tiles (the device shows it at
// start-up, product_wgmma.h). A block is one warp, and products of one x (q, k, v and gate; an expert's two) share a
// launch, so that most matrices give blocks to every multiprocessor without splitting the sum. The weights come through
// a ring: 11 tiles of 32 x 64 are on their way for each warp, or 23 of 16 x 64, which of a narrow matrix is all of its
// 16 rows up to K = 1472 (product.h has the figures).

#include "kernels/cuda/product_few.h"
#include "kernels/cuda/product_tile.cuh"
#include "kernels/cuda/tensor.cuh"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 32;
constexpr int kStep = kFewStep;
constexpr int kLd = kStep + 8;
template <int kTiles>
constexpr int kRing = kTiles == 1 ? 24 : 12;  // FewPlan::depth

// 64 of k for 8 tokens, as right operands of 4 steps; x is fp32 or already bf16. Zero beyond the edges.
template <class T>
__device__ void load_tokens(uint32_t (&b)[4][2], const Product& p, const T* x, int64_t stride, int tokens, int64_t k,
                            bool wide) {
  const int g = lane_id() / 4, t = lane_id() % 4;
  FULMEN_UNROLL
  for (int n = 0; n < 8; ++n) {
    const int64_t at = k + n / 2 * 16 + n % 2 * 8 + 2 * t;
    uint32_t word = 0;
    if (g < tokens && at < p.K) {  // K is even
      const T* from = x + g * stride + at;
      if constexpr (sizeof(T) == 2) {
        word = *reinterpret_cast<const uint32_t*>(from);
      } else if (wide) {
        const auto two = *reinterpret_cast<const float2*>(from);
        word = pack_bf16(two.x, two.y);
      } else {
        word = pack_bf16(from[0], from[1]);
      }
    }
    b[n / 2][n % 2] = word;
  }
}

struct Together {  // products of the same x
  Product product[kMaxTogether];
};

// Grid: tiles of 8 kEights rows x tiles of 16 kTiles columns x products. x: their a, or its copy in bf16.
template <int kTiles, int kEights, class T>
__global__ void __launch_bounds__(kThreads)
    few_kernel(const __grid_constant__ Together list, const T* x, int64_t stride, bool wide) {
  constexpr int kDepth = kRing<kTiles>;
  const Product& p = list.product[blockIdx.z];
  const Tile tile = find_tile(p, 8 * kEights, 16 * kTiles, blockIdx.x, blockIdx.y, 0);
  if (tile.rows <= 0 || tile.columns <= 0) return;
  auto* ring = shared_memory<uint16_t>();
  const uint16_t* w = static_cast<const uint16_t*>(tile.b) + tile.n0 * p.b_column;
  x += tile.m0 * stride;
  const auto fetch = [&](int64_t step) {
    if (step * kStep < p.K) FULMEN_UNROLL
    for (int i = 0; i < 4 * kTiles; ++i) {
      const int piece = i * kThreads + lane_id(), n = piece / 8, c = piece % 8 * 8;
      const int64_t k = step * kStep + c;
      const bool inside = n < tile.columns && k < p.K;
      copy_async(ring + (step % kDepth * 16 * kTiles + n) * kLd + c, inside ? w + n * p.b_column + k : w,
                 inside ? 16 : 0);
    }
    copies_close();
  };
  float sum[kTiles][kEights][4] = {};
  uint32_t next[kEights][4][2];
  for (int i = 0; i < kDepth - 1; ++i) fetch(i);
  const auto tokens = [&](int64_t k) {
    FULMEN_UNROLL
    for (int e = 0; e < kEights; ++e) load_tokens(next[e], p, x + 8 * e * stride, stride, tile.rows - 8 * e, k, wide);
  };
  tokens(0);
  for (int64_t step = 0; step * kStep < p.K; ++step) {
    uint32_t b[kEights][4][2];
    FULMEN_UNROLL
    for (int n = 0; n < 8 * kEights; ++n) b[n / 8][n / 2 % 4][n % 2] = next[n / 8][n / 2 % 4][n % 2];
    if ((step + 1) * kStep < p.K) tokens((step + 1) * kStep);
    copies_wait<kDepth - 2>();
    __syncwarp();  // what every lane copied is there, and the tile before has been read
    fetch(step + kDepth - 1);
    const uint16_t* at = ring + step % kDepth * 16 * kTiles * kLd;
    FULMEN_UNROLL
    for (int k = 0; k < kStep / 16; ++k) FULMEN_UNROLL
    for (int i = 0; i < kTiles; ++i) {
      uint32_t a[4];
      a_rows(a, at + i * 16 * kLd + k * 16, kLd);
      FULMEN_UNROLL
      for (int e = 0; e < kEights; ++e) mma_bf16(sum[i][e], a, b[e][k]);
    }
  }
  const int g = lane_id() / 4, t = lane_id() % 4;
  FULMEN_UNROLL
  for (int i = 0; i < kTiles; ++i) FULMEN_UNROLL
  for (int e = 0; e < kEights; ++e) FULMEN_UNROLL
  for (int n = 0; n < 4; ++n) {
    const int row = 8 * e + 2 * t + n % 2, column = 16 * i + g + n / 2 * 8;
    if (row >= tile.rows || column >= tile.columns) continue;
    float& c = tile.c[row * p.c_row + tile.n0 + column];
    c = p.accumulate ? c + sum[i][e][n] : sum[i][e][n];
  }
}

__global__ void round_kernel(const float* from, int64_t stride, int64_t K, uint16_t* to) {
  for (int64_t i = threadIdx.x; i < K; i += blockDim.x) to[blockIdx.x * K + i] = to_bf16(from[blockIdx.x * stride + i]);
}

template <int kTiles, int kEights, class T>
void run(std::span<const Product> list, const T* x, int64_t stride, State& state) {
  const bool wide = reinterpret_cast<uintptr_t>(x) % 8 == 0 && stride % 2 == 0;
  Together all;
  dim3 grid = product_grid(list[0], 8 * kEights, 16 * kTiles);
  for (size_t i = 0; i < list.size(); ++i) {
    all.product[i] = list[i];
    grid.y = std::max(grid.y, product_grid(list[i], 8 * kEights, 16 * kTiles).y);
  }
  grid.z = static_cast<unsigned>(list.size());
  launch(state, "multiply_few", few_kernel<kTiles, kEights, T>, grid, kThreads,
         kRing<kTiles> * 16 * kTiles * kLd * sizeof(uint16_t), all, x, stride, wide);
}

template <int kTiles>
void run(std::span<const Product> list, int64_t rows, State& state) {
  const Product& p = list[0];
  if (rows <= 8) return run<kTiles, 1>(list, p.a, p.a_row, state);
  State::Frame frame(state);  // each block reads all of x: half the bytes pay for the launch
  auto* x = frame.take<uint16_t>(p.M * p.K);
  launch(state, "multiply_few: round", round_kernel, dim3(static_cast<unsigned>(p.M)), 256, 0, p.a, p.a_row, p.K, x);
  const uint16_t* rounded = x;
  rows <= 16 ? run<kTiles, 2>(list, rounded, p.K, state) : run<kTiles, 4>(list, rounded, p.K, state);
}

}  // namespace

bool fits_few(const Product& p) {
  const int64_t rows = p.groups == Groups::kRows ? p.M / p.experts : p.M;
  if (p.groups == Groups::kSum || rows > kFewProductRows || p.b_type != DType::kBf16) return false;
  if (p.a_k != 1 || p.b_k != 1 || p.K % 8 != 0 || p.b_column % 8 != 0) return false;
  const auto aligned = [](const void* w) { return reinterpret_cast<uintptr_t>(w) % 16 == 0; };
  if (p.groups == Groups::kNone) return aligned(p.b);
  for (int e = 0; e < p.experts; ++e)
    if (!aligned(p.b_host[e])) return false;
  return true;
}

void multiply_few(std::span<const Product> list, State& state) {
  const FewPlan plan = plan_few(list);
  plan.columns == 32 ? run<2>(list, plan.rows, state) : run<1>(list, plan.rows, state);
}

}  // namespace fulmen::kernels::cuda
