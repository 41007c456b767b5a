#pragma once
// What both product kernels share: which part of which expert's product a block computes.

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/product.h"

namespace fulmen::kernels::cuda {

struct Tile {  // rows [m0, m0 + rows) and columns [n0, n0 + columns) of one product with sum length K
  const float* a;
  const void* b;
  float* c;
  int64_t m0, n0, K;
  int rows, columns;  // rows 0: nothing to do
  int expert;
};

template <class T>
__device__ inline T smaller(T a, T b) {
  return a < b ? a : b;
}

// Whose the `tile`-th tile of rows is, counting expert by expert, and which of its tiles; expert -1: there are not so
// many. The lanes of a warp take an expert each: one after another they would cost a decode product a microsecond.
struct ExpertTile {
  int expert;
  int64_t tile;
  int32_t first, end;  // rows of the expert
};
__device__ inline ExpertTile find_expert(const Product& p, int tile_rows, int64_t tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int base = 0; base < p.experts; base += 32) {
    const int e = base + lane;
    const int32_t first = p.offset[smaller(e, p.experts)], end = p.offset[smaller(e + 1, p.experts)];
    const int mine = (end - first + tile_rows - 1) / tile_rows;
    int sum = mine;  // of the lanes up to this one
    for (int s = 1; s < 32; s <<= 1) {
      const int below = __shfl_up_sync(0xffffffffu, sum, s);
      if (lane >= s) sum += below;
    }
    const int at = __popc(__ballot_sync(0xffffffffu, sum <= tile));  // lanes that end before it
    if (at < 32)
      return {base + at, tile - __shfl_sync(0xffffffffu, sum - mine, at), __shfl_sync(0xffffffffu, first, at),
              __shfl_sync(0xffffffffu, end, at)};
    tile -= __shfl_sync(0xffffffffu, sum, 31);
  }
  return {-1, 0, 0, 0};
}

// a and c are moved to the tile's first row, b to the product's first k. Whole warps call it.
__device__ inline Tile find_tile(const Product& p, int tile_rows, int tile_columns, int64_t tile, int64_t tile_column,
                                 int expert) {
  Tile t{p.a, p.b, p.c, 0, tile_column * tile_columns, p.K, 0, 0, expert};
  t.columns = static_cast<int>(smaller<int64_t>(tile_columns, p.N - t.n0));
  int64_t m0 = tile * tile_rows, end = p.M;
  if (p.groups == Groups::kRows) {
    const ExpertTile found = find_expert(p, tile_rows, tile);
    if (found.expert < 0) return t;
    m0 = found.first + found.tile * tile_rows;
    end = found.end;
    t.b = p.b_list[found.expert];
    t.expert = found.expert;
  }
  if (p.groups == Groups::kSum) {
    const int64_t first = p.offset[expert];
    t.K = p.offset[expert + 1] - first;
    if (t.K == 0) return t;
    t.a += first * p.a_k;
    t.b = static_cast<const char*>(p.b) + first * p.b_k * (p.b_type == DType::kF32 ? 4 : 2);
    t.c = p.c_list[expert];
  }
  t.m0 = m0;
  t.rows = static_cast<int>(smaller<int64_t>(tile_rows, end - m0));
  t.a += m0 * p.a_row;
  t.c += m0 * p.c_row;
  return t;
}

// Of a grid of row tiles x column tiles x experts.
__device__ inline Tile find_tile(const Product& p, int tile_rows, int tile_columns) {
  return find_tile(p, tile_rows, tile_columns, blockIdx.x, blockIdx.y, static_cast<int>(blockIdx.z));
}

constexpr int kRowGroup = 8;  // tiles of rows that share columns' way through L2

// Blocks in a row: kRowGroup tiles of rows, then the next column of tiles.
struct Place {
  int64_t row, column;
};
__device__ inline Place place_of(int64_t id, int64_t rows, int64_t columns) {
  const int64_t per = kRowGroup * columns, first = id / per * kRowGroup;
  const int64_t tall = smaller<int64_t>(kRowGroup, rows - first), in = id % per;
  return {first + in % tall, in / tall};
}

inline dim3 product_grid(const Product& p, int tile_rows, int tile_columns) {
  return dim3(static_cast<unsigned>(row_tiles(p, tile_rows)),
              static_cast<unsigned>((p.N + tile_columns - 1) / tile_columns),
              p.groups == Groups::kSum ? static_cast<unsigned>(p.experts) : 1u);
}

}  // namespace fulmen::kernels::cuda
