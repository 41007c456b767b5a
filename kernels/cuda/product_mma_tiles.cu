// bf16 products of many rows with mma.sync, for GPUs without wgmma: tiles of 128 x 128, four steps of 32 k on their way
// (cp.async), 8 warps of 64 x 32. 80 KB of shared memory and at most 128 registers: two blocks a multiprocessor.

#include "kernels/cuda/product_lines.cuh"
#include "kernels/cuda/product_tile.cuh"
#include "kernels/cuda/tensor.cuh"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 128;
constexpr int kStep = 32;
constexpr int kDepth = 4;
constexpr int kLdAlong = kStep + 8, kLdAcross = kTile + 8;
constexpr int kOperand = kTile * kLdAlong;  // values; across k it is less
constexpr size_t kSharedBytes = sizeof(uint16_t) * kDepth * 2 * kOperand;

// 16 bytes of which `values` are inside.
__device__ void copy_piece(uint16_t* to, const uint16_t* from, const uint16_t* base, int64_t values) {
  const int inside = values <= 0 ? 0 : values >= 8 ? 8 : static_cast<int>(values);
  copy_async(to, inside > 0 ? from : base, inside * 2);
}

// One step of k from `from` (the tile's first row at this k) for `rows` rows and `steps` of k, zero beyond.
template <int kAcross>
__device__ void fetch(uint16_t* to, const uint16_t* from, int64_t stride, int rows, int64_t steps) {
  FULMEN_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int piece = i * kThreads + static_cast<int>(threadIdx.x);
    if constexpr (kAcross == 0) {
      const int r = piece / 4, k = piece % 4 * 8;
      copy_piece(to + r * kLdAlong + k, from + r * stride + k, from, r < rows ? steps - k : 0);
    } else {
      const int k = piece / 16, r = piece % 16 * 8;
      copy_piece(to + k * kLdAcross + r, from + k * stride + r, from, k < steps ? rows - r : 0);
    }
  }
}

struct Source {
  const uint16_t* data;
  int64_t stride;
};

// Grid: tiles x 1 x experts (kSum).
template <int kAcrossA, int kAcrossB>
__global__ void __launch_bounds__(kThreads, 2)
    tile_kernel(Product p, Source a, Source b, int64_t row_count, int64_t column_count, bool wide) {
  const Place place = place_of(blockIdx.x, row_count, column_count);
  const Tile t = find_tile(p, kTile, kTile, place.row, place.column, static_cast<int>(blockIdx.z));
  if (t.rows <= 0) return;
  const int64_t line = first_line(p, t.expert);
  if (p.groups == Groups::kRows) b.data = static_cast<const uint16_t*>(t.b);
  a.data += kAcrossA != 0 ? line * a.stride + t.m0 : t.m0 * a.stride;
  b.data += kAcrossB != 0 ? line * b.stride + t.n0 : t.n0 * b.stride;
  auto* const ring = shared_memory<uint16_t>();
  const auto fetch_step = [&](int64_t step) {
    const int64_t k = step * kStep, left = t.K - k;
    uint16_t* const to = ring + step % kDepth * 2 * kOperand;
    if (left > 0) {
      fetch<kAcrossA>(to, a.data + (kAcrossA != 0 ? k * a.stride : k), a.stride, t.rows, left);
      fetch<kAcrossB>(to + kOperand, b.data + (kAcrossB != 0 ? k * b.stride : k), b.stride, t.columns, left);
    }
    copies_close();
  };
  const int row0 = warp_id() % 2 * 64, column0 = warp_id() / 2 * 32;
  float sum[4][2][2][4] = {};
  for (int i = 0; i < kDepth - 1; ++i) fetch_step(i);
  for (int64_t step = 0; step * kStep < t.K; ++step) {
    copies_wait<kDepth - 2>();
    __syncthreads();  // the step is there, and the one before has been read
    fetch_step(step + kDepth - 1);
    const uint16_t *left = ring + step % kDepth * 2 * kOperand, *right = left + kOperand;
    FULMEN_UNROLL
    for (int k = 0; k < kStep; k += 16) {
      uint32_t x[4][4], y[2][4];
      FULMEN_UNROLL
      for (int i = 0; i < 4; ++i)
        if constexpr (kAcrossA == 0)
          a_rows(x[i], left + (row0 + 16 * i) * kLdAlong + k, kLdAlong);
        else
          a_columns(x[i], left + k * kLdAcross + row0 + 16 * i, kLdAcross);
      FULMEN_UNROLL
      for (int j = 0; j < 2; ++j)
        if constexpr (kAcrossB == 0)
          b_columns(y[j], right + (column0 + 16 * j) * kLdAlong + k, kLdAlong);
        else
          b_rows(y[j], right + k * kLdAcross + column0 + 16 * j, kLdAcross);
      FULMEN_UNROLL
      for (int i = 0; i < 4; ++i) FULMEN_UNROLL
      for (int j = 0; j < 2; ++j) mma_pair(sum[i][j], x[i], y[j]);
    }
  }
  const int g = lane_id() / 4, q = lane_id() % 4;
  FULMEN_UNROLL
  for (int i = 0; i < 4; ++i) FULMEN_UNROLL
  for (int j = 0; j < 2; ++j) FULMEN_UNROLL
  for (int n = 0; n < 4; ++n) {
    const int row = row0 + 16 * i + g + n % 2 * 8, column = column0 + 16 * j + n / 2 * 8 + 2 * q;
    if (row >= t.rows || column >= t.columns) continue;
    float* const to = t.c + row * p.c_row + t.n0 + column;
    const float* s = sum[i][j][n / 2] + n % 2 * 2;
    const bool two = column + 1 < t.columns;
    const float first = p.accumulate ? to[0] + s[0] : s[0];
    if (two)
      store_two(to, first, p.accumulate ? to[1] + s[1] : s[1], wide);
    else
      to[0] = first;
  }
}

}  // namespace

void multiply_mma_tiles(const Product& p, State& state) {
  State::Frame frame(state);
  const Lines a = make_lines(left_operand(p), p, frame, state);
  const Operand right = right_operand(p);
  Lines b{nullptr, right.line_stride, right.lines, right.width};
  if (p.groups != Groups::kRows) b = make_lines(right, p, frame, state);
  const int64_t rows = row_tiles(p, kTile), columns = (p.N + kTile - 1) / kTile;
  const bool wide = p.c_list == nullptr && reinterpret_cast<uintptr_t>(p.c) % 8 == 0 && p.c_row % 2 == 0;
  const bool across_a = !left_operand(p).along_k, across_b = !right.along_k;
  const auto kernel = across_a ? (across_b ? tile_kernel<1, 1> : tile_kernel<1, 0>)
                               : (across_b ? tile_kernel<0, 1> : tile_kernel<0, 0>);
  launch(
      state, "multiply_mma_tiles", kernel,
      dim3(static_cast<unsigned>(rows * columns), 1, p.groups == Groups::kSum ? static_cast<unsigned>(p.experts) : 1u),
      kThreads, kSharedBytes, p, Source{static_cast<const uint16_t*>(a.data), a.stride},
      Source{static_cast<const uint16_t*>(b.data), b.stride}, rows, columns, wide);
}

}  // namespace fulmen::kernels::cuda
