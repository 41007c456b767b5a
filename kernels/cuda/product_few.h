#pragma once
// bf16 products of a few rows; the same canonical order as the others (product.h).

#include <algorithm>
#include <span>

#include "kernels/cuda/product.h"
#include "kernels/linear.h"

namespace fulmen::kernels::cuda {

constexpr int64_t kFewProductRows = 64;  // of the batch, or of an expert on average

constexpr int kFewStep = 64;  // of k, in a ring of weights

// How a launch is cut: tiles of `columns` of the weights and `rows` tokens, one warp each, every block with the ring's
// steps but one of its columns on their way. Narrow tiles, and twice as many steps, where wide ones would be fewer than
// two blocks a multiprocessor.
struct FewPlan {
  int columns, depth;    // depth: steps of the ring
  int64_t rows, blocks;  // blocks that are expected to have something to do
  int64_t bytes_on_their_way(int64_t K) const {
    return blocks * columns * 2 * std::min<int64_t>(K, (depth - 1) * kFewStep);
  }
};
inline FewPlan plan_few(std::span<const Product> list) {
  constexpr int64_t kEnough = 264;
  const Product& first = list[0];
  const bool grouped = first.groups == Groups::kRows;
  const int64_t each = grouped ? (first.M + first.experts - 1) / first.experts : first.M;  // rows of a tile
  FewPlan plan{32, 12, each <= 8 ? 8 : each <= 16 ? 16 : 32, 0};
  const int64_t tiles = grouped ? std::min<int64_t>(first.M, first.experts) : (first.M + plan.rows - 1) / plan.rows;
  for (const bool narrow : {false, true}) {
    if (narrow) plan.columns = 16, plan.depth = 24;
    plan.blocks = 0;
    for (const Product& p : list) plan.blocks += (p.N + plan.columns - 1) / plan.columns * tiles;
    if (plan.blocks >= kEnough) break;
  }
  return plan;
}

bool fits_few(const Product& p);  // few rows, and weights along k that can be read in 16 bytes
// Up to kMaxTogether products of the same a, M, K and groups, in one launch.
void multiply_few(std::span<const Product> list, State& state);

}  // namespace fulmen::kernels::cuda
