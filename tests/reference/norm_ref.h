#pragma once
// RMSNorm with and without gate in double precision, straight from the formula.

#include <cmath>
#include <cstdint>
#include <vector>

namespace fulmen::reference {

// g empty: no gate.
inline std::vector<double> rmsnorm(const std::vector<double>& x, const std::vector<double>& g,
                                   const std::vector<double>& w, double eps) {
  const size_t C = w.size(), T = x.size() / C;
  std::vector<double> y(x.size());
  for (size_t t = 0; t < T; ++t) {
    double squares = 0;
    for (size_t c = 0; c < C; ++c) squares += x[t * C + c] * x[t * C + c];
    const double rms = std::sqrt(squares / static_cast<double>(C) + eps);
    for (size_t c = 0; c < C; ++c) {
      const double gate = g.empty() ? 1 : 1 / (1 + std::exp(-g[t * C + c]));
      y[t * C + c] = gate * x[t * C + c] / rms * w[c];
    }
  }
  return y;
}

}  // namespace fulmen::reference
