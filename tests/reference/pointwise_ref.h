#pragma once
// SiLU, SwiGLU and RoPE in double precision, straight from the formulas.

#include <cmath>
#include <cstdint>
#include <vector>

namespace fulmen::reference {

inline double silu(double x) { return x / (1 + std::exp(-x)); }

inline std::vector<double> silu(std::vector<double> x) {
  for (double& v : x) v = silu(v);
  return x;
}

inline std::vector<double> swiglu(const std::vector<double>& gate, const std::vector<double>& up) {
  std::vector<double> y(gate.size());
  for (size_t i = 0; i < y.size(); ++i) y[i] = silu(gate[i]) * up[i];
  return y;
}

// x (T, heads * D), row t at position[t]: a pair is a complex number turned by its angle.
inline std::vector<double> rope(std::vector<double> x, const std::vector<int64_t>& position, int heads, int D,
                                int rotary, double theta) {
  for (size_t t = 0; t < position.size(); ++t)
    for (int h = 0; h < heads; ++h)
      for (int i = 0; i < rotary / 2; ++i) {
        double& a = x[(t * heads + h) * D + i];
        double& b = x[(t * heads + h) * D + i + rotary / 2];
        const double angle = static_cast<double>(position[t]) / std::pow(theta, 2.0 * i / rotary);
        const double re = a * std::cos(angle) - b * std::sin(angle), im = a * std::sin(angle) + b * std::cos(angle);
        a = re;
        b = im;
      }
  return x;
}

}  // namespace fulmen::reference
