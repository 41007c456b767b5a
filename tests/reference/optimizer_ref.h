#pragma once
// AdamW in double precision, as the paper writes it.

#include <cmath>

namespace fulmen::reference {

struct AdamW {
  double p = 0, m = 0, v = 0;

  void step(double g, double lr, double beta1, double beta2, double eps, double weight_decay, int t) {
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const double m_hat = m / (1 - std::pow(beta1, t)), v_hat = v / (1 - std::pow(beta2, t));
    p -= lr * (m_hat / (std::sqrt(v_hat) + eps) + weight_decay * p);
  }
};

}  // namespace fulmen::reference
