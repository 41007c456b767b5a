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

// a and c are moved to the tile's first row, b to the product's first k.
__device__ inline Tile find_tile(const Product& p, int tile_rows, int tile_columns, int64_t tile, int64_t tile_column,
                                 int expert) {
  Tile t{p.a, p.b, p.c, 0, tile_column * tile_columns, p.K, 0, 0, expert};
  t.columns = static_cast<int>(smaller<int64_t>(tile_columns, p.N - t.n0));
  int64_t m0 = tile * tile_rows, end = p.M;
  if (p.groups == Groups::kRows) {
    int e = 0;
    for (; e < p.experts; ++e) {
      const int64_t tiles = (p.offset[e + 1] - p.offset[e] + tile_rows - 1) / tile_rows;
      if (tile < tiles) break;
      tile -= tiles;
    }
    if (e == p.experts) return t;
    m0 = p.offset[e] + tile * tile_rows;
    end = p.offset[e + 1];
    t.b = p.b_list[e];
    t.expert = e;
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
