#pragma once
// Log-probability and entropy of a linear head in double precision, all logits at once.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace fulmen::reference {

struct HeadRow {
  double logprob = 0, entropy = 0;
};

// h (C), w (V, C). target -1: zeros.
inline HeadRow head_row(const double* h, const std::vector<double>& w, size_t C, int target, double inv_temperature) {
  if (target < 0) return {};
  std::vector<double> x(w.size() / C);
  for (size_t v = 0; v < x.size(); ++v)
    for (size_t c = 0; c < C; ++c) x[v] += h[c] * w[v * C + c] * inv_temperature;
  const double max = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (const double v : x) sum += std::exp(v - max);
  const double lse = max + std::log(sum);
  HeadRow row{x[target] - lse, 0};
  for (const double v : x) row.entropy -= std::exp(v - lse) * (v - lse);
  return row;
}

}  // namespace fulmen::reference
