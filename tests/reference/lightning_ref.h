#pragma once
// Lightning attention three times, sharing no code with kernels/: the scalar fmaf chain that every kernel must equal
// bit for bit (the specification of kernels/lightning.h), the token recurrence in double precision with its gradient,
// and a wrong block size for negative controls. One head of one sequence: q, k, v, o are (len, D), dense.

#include <cmath>
#include <cstddef>
#include <vector>

namespace fulmen::reference {

using Rows = std::vector<float>;
using DoubleRows = std::vector<double>;

// `pw[m]`, m = 0..block, is the decay over m tokens.
inline Rows lightning_spec(const Rows& q, const Rows& k, const Rows& v, int len, int D, const float* pw,
                           int block = 64) {
  Rows o(q.size()), S(static_cast<size_t>(D) * D, 0.0f), p(block);
  for (int b = 0; b < len; b += block) {
    const int n = len - b < block ? len - b : block;
    for (int i = 0; i < n; ++i) {
      const float* qi = &q[(b + i) * D];
      for (int j = 0; j <= i; ++j) {
        p[j] = 0;
        for (int x = 0; x < D; ++x) p[j] = std::fmaf(qi[x], k[(b + j) * D + x], p[j]);
        p[j] *= pw[i - j];
      }
      for (int e = 0; e < D; ++e) {
        float s = 0;
        for (int x = 0; x < D; ++x) s = std::fmaf(qi[x], S[x * D + e], s);
        s *= pw[i + 1];
        for (int j = 0; j <= i; ++j) s = std::fmaf(p[j], v[(b + j) * D + e], s);
        o[(b + i) * D + e] = s;
      }
    }
    for (int x = 0; n == block && x < D; ++x)
      for (int e = 0; e < D; ++e) {
        float s = 0;
        for (int j = 0; j < block; ++j) s = std::fmaf(k[(b + j) * D + x] * pw[block - 1 - j], v[(b + j) * D + e], s);
        S[x * D + e] = std::fmaf(pw[block], S[x * D + e], s);
      }
  }
  return o;
}

// S = lam S + k v^T, o = S^T q.
inline DoubleRows lightning_double(const DoubleRows& q, const DoubleRows& k, const DoubleRows& v, int len, int D,
                                   double slope) {
  DoubleRows o(q.size(), 0.0), S(static_cast<size_t>(D) * D, 0.0);
  const double lam = std::exp(-slope);
  for (int t = 0; t < len; ++t)
    for (int x = 0; x < D; ++x)
      for (int e = 0; e < D; ++e) {
        double& s = S[x * D + e];
        s = lam * s + k[t * D + x] * v[t * D + e];
        o[t * D + e] += q[t * D + x] * s;
      }
  return o;
}

struct LightningGradient {
  DoubleRows dq, dk, dv;
};

// Straight from o_i = sum_{j<=i} lam^(i-j) (q_i . k_j) v_j, pair by pair.
inline LightningGradient lightning_gradient(const DoubleRows& q, const DoubleRows& k, const DoubleRows& v,
                                            const DoubleRows& g, int len, int D, double slope) {
  LightningGradient d{DoubleRows(q.size()), DoubleRows(q.size()), DoubleRows(q.size())};
  for (int i = 0; i < len; ++i)
    for (int j = 0; j <= i; ++j) {
      double qk = 0, gv = 0;
      for (int x = 0; x < D; ++x) qk += q[i * D + x] * k[j * D + x], gv += g[i * D + x] * v[j * D + x];
      const double lam = std::exp(-slope * (i - j));
      for (int x = 0; x < D; ++x) {
        d.dq[i * D + x] += lam * gv * k[j * D + x];
        d.dk[j * D + x] += lam * gv * q[i * D + x];
        d.dv[j * D + x] += lam * qk * g[i * D + x];
      }
    }
  return d;
}

}  // namespace fulmen::reference
