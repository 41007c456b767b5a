#pragma once
// bf16 products of a few rows; the same canonical order as the others (product.h).

#include <span>

#include "kernels/cuda/product.h"
#include "kernels/linear.h"

namespace fulmen::kernels::cuda {

constexpr int64_t kFewProductRows = 64;  // of the batch, or of an expert on average

bool fits_few(const Product& p);  // few rows, and weights along k that can be read in 16 bytes
// Up to kMaxTogether products of the same a, M, K and groups, in one launch.
void multiply_few(std::span<const Product> list, State& state);

}  // namespace fulmen::kernels::cuda
