#pragma once
// The distribution a sampler must draw from, in double precision, by sorting the whole vocabulary.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace fulmen::reference {

// p over all V, zero where truncated. margin: the distance of top_p and min_p to the nearest decision.
struct Distribution {
  std::vector<double> p;
  double margin = 1;
};

inline Distribution sampling_distribution(const std::vector<double>& logits, double temperature, int top_k,
                                          double top_p, double min_p) {
  const size_t V = logits.size();
  std::vector<double> mass(V);
  const double max = *std::max_element(logits.begin(), logits.end());
  for (size_t v = 0; v < V; ++v) mass[v] = std::exp((logits[v] - max) / temperature);
  std::vector<size_t> ids(V);
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  if (top_k > 0 && static_cast<size_t>(top_k) < V) ids.resize(top_k);
  double total = 0, sum = 0, kept = 0;
  for (const size_t v : ids) total += mass[v];
  Distribution d{std::vector<double>(V), 1};
  for (const size_t v : ids) {
    if (top_p < 1) {
      d.margin = std::min(d.margin, std::abs(sum / total - top_p));
      if (sum / total >= top_p) break;
    }
    sum += mass[v];
    if (min_p > 0) d.margin = std::min(d.margin, std::abs(mass[v] - min_p));
    if (mass[v] < min_p) continue;
    d.p[v] = mass[v];
    kept += mass[v];
  }
  for (double& p : d.p) p /= kept;
  return d;
}

}  // namespace fulmen::reference
