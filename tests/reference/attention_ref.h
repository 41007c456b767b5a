#pragma once
// Causal softmax attention, sharing no code with kernels/: the scalar chain that the kernels must equal bit for bit
// except for exp, which the caller passes in (the specification of kernels/attention.h), and double precision with its
// gradient. One query head over one kv head of one sequence: q, k, v, o are (len, D), dense.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace fulmen::reference {

struct SoftmaxSum {
  float m = -INFINITY, l = 0;
  std::vector<float> acc;
};

// Sum of 16 lanes: lane i with i + 8, + 4, + 2, + 1.
inline float lane_tree(std::vector<float> t) {
  for (int s = 8; s; s /= 2)
    for (int i = 0; i < s; ++i) t[i] = t[i] + t[i + s];
  return t[0];
}

// Keys [first, last) of one split in tiles of 64.
template <class Exp>
SoftmaxSum attention_split_spec(const float* q, const float* k, const float* v, int first, int last, int D, Exp exp) {
  SoftmaxSum sum;
  sum.acc.assign(D, 0.0f);
  for (int t = first; t < last; t += 64) {
    const int n = std::min(64, last - t);
    std::vector<float> s(64, -INFINITY), lanes(16);
    for (int j = 0; j < n; ++j) {
      s[j] = 0;
      for (int x = 0; x < D; ++x) s[j] = std::fmaf(q[x], k[(t + j) * D + x], s[j]);
    }
    const float m = std::max(sum.m, *std::max_element(s.begin(), s.end())), c = exp(sum.m - m);
    for (float& x : s) x = exp(x - m);
    for (int i = 0; i < 16; ++i) lanes[i] = (s[i] + s[i + 16]) + (s[i + 32] + s[i + 48]);
    sum.l = std::fmaf(sum.l, c, lane_tree(lanes));
    sum.m = m;
    for (int x = 0; x < D; ++x) {
      sum.acc[x] = sum.acc[x] * c;
      for (int j = 0; j < n; ++j) sum.acc[x] = std::fmaf(s[j], v[(t + j) * D + x], sum.acc[x]);
    }
  }
  return sum;
}

// Rows before first_row are left 0.
template <class Exp>
std::vector<float> attention_spec(const std::vector<float>& q, const std::vector<float>& k, const std::vector<float>& v,
                                  int len, int D, Exp exp, int split = 1024, int first_row = 0) {
  std::vector<float> o(q.size()), qi(D);
  for (int i = first_row; i < len; ++i) {
    for (int x = 0; x < D; ++x) qi[x] = q[i * D + x] * static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
    SoftmaxSum sum = attention_split_spec(qi.data(), k.data(), v.data(), 0, std::min(split, i + 1), D, exp);
    for (int f = split; f <= i; f += split) {
      const SoftmaxSum next =
          attention_split_spec(qi.data(), k.data(), v.data(), f, std::min(f + split, i + 1), D, exp);
      const float m = std::max(sum.m, next.m), x = exp(sum.m - m), y = exp(next.m - m);
      sum.l = std::fmaf(sum.l, x, next.l * y);
      sum.m = m;
      for (int e = 0; e < D; ++e) sum.acc[e] = std::fmaf(sum.acc[e], x, next.acc[e] * y);
    }
    const float inv = 1.0f / sum.l;
    for (int e = 0; e < D; ++e) o[i * D + e] = sum.acc[e] * inv;
  }
  return o;
}

struct AttentionDouble {
  std::vector<double> o, lse;
};

inline AttentionDouble attention_double(const std::vector<double>& q, const std::vector<double>& k,
                                        const std::vector<double>& v, int len, int D) {
  AttentionDouble r{std::vector<double>(q.size()), std::vector<double>(len)};
  std::vector<double> s(len);
  for (int i = 0; i < len; ++i) {
    double top = -INFINITY, sum = 0;
    for (int j = 0; j <= i; ++j) {
      s[j] = 0;
      for (int x = 0; x < D; ++x) s[j] += q[i * D + x] * k[j * D + x] / std::sqrt(static_cast<double>(D));
      top = std::max(top, s[j]);
    }
    for (int j = 0; j <= i; ++j) sum += std::exp(s[j] - top);
    r.lse[i] = top + std::log(sum);
    for (int j = 0; j <= i; ++j)
      for (int x = 0; x < D; ++x) r.o[i * D + x] += std::exp(s[j] - r.lse[i]) * v[j * D + x];
  }
  return r;
}

struct AttentionGradient {
  std::vector<double> dq, dk, dv;
};

inline AttentionGradient attention_gradient(const std::vector<double>& q, const std::vector<double>& k,
                                            const std::vector<double>& v, const std::vector<double>& g, int len,
                                            int D) {
  const AttentionDouble f = attention_double(q, k, v, len, D);
  const double scale = 1.0 / std::sqrt(static_cast<double>(D));
  AttentionGradient d{std::vector<double>(q.size()), std::vector<double>(q.size()), std::vector<double>(q.size())};
  for (int i = 0; i < len; ++i) {
    double delta = 0;
    for (int x = 0; x < D; ++x) delta += g[i * D + x] * f.o[i * D + x];
    for (int j = 0; j <= i; ++j) {
      double s = 0, dp = 0;
      for (int x = 0; x < D; ++x) s += q[i * D + x] * k[j * D + x], dp += g[i * D + x] * v[j * D + x];
      const double p = std::exp(s * scale - f.lse[i]), ds = p * (dp - delta) * scale;
      for (int x = 0; x < D; ++x) {
        d.dq[i * D + x] += ds * k[j * D + x];
        d.dk[j * D + x] += ds * q[i * D + x];
        d.dv[j * D + x] += p * g[i * D + x];
      }
    }
  }
  return d;
}

}  // namespace fulmen::reference
