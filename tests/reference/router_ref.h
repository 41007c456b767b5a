#pragma once
// Routing the long way round, in double precision: softmax over all experts, the top_k renormalised, mixture per token.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace fulmen::reference {

struct Route {
  std::vector<int> expert;
  std::vector<double> weight;
};

// The experts of `fixed`, if given, else the top_k largest (ties to the lower id).
inline Route route(const double* logits, int E, int top_k, const int32_t* fixed = nullptr) {
  std::vector<int> ids(E);
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  ids.resize(top_k);
  if (fixed) ids.assign(fixed, fixed + top_k);
  double sum = 0, kept = 0;
  for (int e = 0; e < E; ++e) sum += std::exp(logits[e]);
  Route r{ids, {}};
  for (const int e : ids) r.weight.push_back(std::exp(logits[e]) / sum);
  for (const double w : r.weight) kept += w;
  for (double& w : r.weight) w /= kept;
  return r;
}

// y[t] = sum over slots of weight * f[row of (t, slot)], f in sorted order.
inline std::vector<double> combine(const std::vector<double>& f, const std::vector<int32_t>& order,
                                   const std::vector<double>& weight, size_t top_k, size_t C) {
  std::vector<double> y(order.size() / top_k * C);
  for (size_t r = 0; r < order.size(); ++r)
    for (size_t c = 0; c < C; ++c) y[order[r] / top_k * C + c] += weight[order[r]] * f[r * C + c];
  return y;
}

}  // namespace fulmen::reference
