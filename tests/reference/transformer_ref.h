#pragma once
// The model as its equations, in double, token by token: naive recurrence, naive softmax, no cache, no batch. Shares no
// code with the product; only the tensor names and shapes of the file format are common.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace fulmen::reference {

using Vector = std::vector<double>;

struct ModelSizes {
  int V = 0, C = 0, F = 0, L = 0, H = 0, KV = 0, D = 0, rotary = 0, E = 0, top_k = 0, shared_F = 0;
  std::vector<int> softmax;  // (L) 0 or 1
  double theta = 1e7, eps = 1e-5, lightning_eps = 1e-6;
  bool postnorm = true;
  double alpha[2] = {1, 1}, beta[2] = {1, 1};  // lightning, softmax
  double alpha_mlp = 1, beta_mlp = 1;
};

struct TransformerRef {
  ModelSizes c;
  std::map<std::string, Vector> w;  // by Hugging Face name
  double smallest_margin = 1e300;   // between the last chosen and the first rejected router logit
  const Vector& tensor(const std::string& name) const { return w.at(name); }

  static Vector multiply(const Vector& weight, const Vector& x) {  // (N, K) times (K)
    Vector y(weight.size() / x.size());
    for (size_t n = 0; n < y.size(); ++n)
      y[n] = std::inner_product(x.begin(), x.end(), weight.begin() + static_cast<std::ptrdiff_t>(n * x.size()), 0.0);
    return y;
  }
  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  static Vector rmsnorm(const Vector& x, const Vector& weight, double eps) {
    double square = 0;
    for (double v : x) square += v * v;
    const double r = 1 / std::sqrt(square / static_cast<double>(x.size()) + eps);
    Vector y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * r * weight[i];
    return y;
  }
  static Vector mlp(const Vector& gate, const Vector& up, const Vector& down, const Vector& x) {
    Vector g = multiply(gate, x), u = multiply(up, x);
    for (size_t i = 0; i < g.size(); ++i) g[i] *= sigmoid(g[i]) * u[i];
    return multiply(down, g);
  }

  // ALiBi slopes, also for H that is no power of two.
  static Vector alibi(int H) {
    const auto powers = [](int n) {
      Vector s;
      for (int h = 0; h < n; ++h) s.push_back(std::pow(2.0, -8.0 * (h + 1) / n));
      return s;
    };
    int P = 1;
    while (P * 2 <= H) P *= 2;
    Vector s = powers(P);
    const Vector more = powers(2 * P);
    for (int i = 0; static_cast<int>(s.size()) < H; i += 2) s.push_back(more[static_cast<size_t>(i)]);
    return s;
  }

  std::vector<Vector> lightning(int l, const std::vector<Vector>& h, const std::string& p) const {
    const int D = c.D;
    const Vector slope = alibi(c.H);
    const double depth = c.L > 1 ? 1.0 - static_cast<double>(l) / (c.L - 1) + 1e-5 : 1 + 1e-5;
    std::vector<Vector> state(static_cast<size_t>(c.H), Vector(static_cast<size_t>(D * D))), out;
    for (const Vector& row : h) {
      Vector u = multiply(tensor(p + "qkv_proj.weight"), row), o(static_cast<size_t>(c.H * D));
      for (double& v : u) v *= sigmoid(v);
      for (int head = 0; head < c.H; ++head) {
        const double lambda = std::exp(-slope[static_cast<size_t>(head)] * depth);
        const double *q = &u[static_cast<size_t>(head * 3 * D)], *k = q + D, *v = k + D;
        double* S = state[static_cast<size_t>(head)].data();
        for (int i = 0; i < D; ++i)
          for (int j = 0; j < D; ++j) {
            S[i * D + j] = lambda * S[i * D + j] + k[i] * v[j];
            o[static_cast<size_t>(head * D + j)] += q[i] * S[i * D + j];
          }
      }
      o = rmsnorm(o, tensor(p + "norm.weight"), c.lightning_eps);
      const Vector gate = multiply(tensor(p + "output_gate.weight"), row);
      for (size_t i = 0; i < o.size(); ++i) o[i] *= sigmoid(gate[i]);
      out.push_back(multiply(tensor(p + "out_proj.weight"), o));
    }
    return out;
  }

  void rotate(Vector& x, int heads, size_t position) const {
    for (int head = 0; head < heads; ++head)
      for (int i = 0; i < c.rotary / 2; ++i) {
        const double angle = static_cast<double>(position) * std::pow(c.theta, -2.0 * i / c.rotary);
        double &a = x[static_cast<size_t>(head * c.D + i)], &b = x[static_cast<size_t>(head * c.D + i + c.rotary / 2)];
        const double a0 = a, b0 = b;
        a = a0 * std::cos(angle) - b0 * std::sin(angle);
        b = b0 * std::cos(angle) + a0 * std::sin(angle);
      }
  }

  std::vector<Vector> softmax(const std::vector<Vector>& h, const std::string& p) const {
    std::vector<Vector> ks, vs, out;
    for (size_t t = 0; t < h.size(); ++t) {
      Vector q = multiply(tensor(p + "q_proj.weight"), h[t]), k = multiply(tensor(p + "k_proj.weight"), h[t]);
      rotate(q, c.H, t);
      rotate(k, c.KV, t);
      ks.push_back(k);
      vs.push_back(multiply(tensor(p + "v_proj.weight"), h[t]));
      Vector o(static_cast<size_t>(c.H * c.D));
      for (int head = 0; head < c.H; ++head) {
        const size_t at = static_cast<size_t>(head / (c.H / c.KV) * c.D), qa = static_cast<size_t>(head * c.D);
        Vector score(t + 1);
        for (size_t j = 0; j <= t; ++j) {
          for (size_t d = 0; d < static_cast<size_t>(c.D); ++d) score[j] += q[qa + d] * ks[j][at + d];
          score[j] /= std::sqrt(static_cast<double>(c.D));
        }
        const double top = *std::max_element(score.begin(), score.end());
        double sum = 0;
        for (double& s : score) sum += s = std::exp(s - top);
        for (size_t j = 0; j <= t; ++j)
          for (size_t d = 0; d < static_cast<size_t>(c.D); ++d) o[qa + d] += score[j] / sum * vs[j][at + d];
      }
      out.push_back(multiply(tensor(p + "o_proj.weight"), o));
    }
    return out;
  }

  Vector experts(const Vector& h2, const std::string& layer) {
    const std::string p = layer + "block_sparse_moe.";
    const Vector logits = multiply(tensor(p + "gate.weight"), h2);
    std::vector<int> id(static_cast<size_t>(c.E));
    std::iota(id.begin(), id.end(), 0);
    std::stable_sort(id.begin(), id.end(),
                     [&](int a, int b) { return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)]; });
    const auto logit = [&](int rank) { return logits[static_cast<size_t>(id[static_cast<size_t>(rank)])]; };
    if (c.top_k < c.E) smallest_margin = std::min(smallest_margin, logit(c.top_k - 1) - logit(c.top_k));
    double sum = 0;
    for (int i = 0; i < c.top_k; ++i) sum += std::exp(logit(i) - logit(0));
    Vector y(h2.size());
    for (int i = 0; i < c.top_k; ++i) {
      const std::string e = p + "experts." + std::to_string(id[static_cast<size_t>(i)]) + ".";
      const Vector f = mlp(tensor(e + "w1.weight"), tensor(e + "w3.weight"), tensor(e + "w2.weight"), h2);
      for (size_t j = 0; j < y.size(); ++j) y[j] += std::exp(logit(i) - logit(0)) / sum * f[j];
    }
    if (c.shared_F == 0) return y;
    const double share = sigmoid(multiply(tensor(layer + "coefficient.weight"), h2)[0]);
    const std::string s = layer + "shared_mlp.";
    const Vector f =
        mlp(tensor(s + "gate_proj.weight"), tensor(s + "up_proj.weight"), tensor(s + "down_proj.weight"), h2);
    for (size_t j = 0; j < y.size(); ++j) y[j] = (1 - share) * y[j] + share * f[j];
    return y;
  }

  // One sequence -> rows after the final norm.
  std::vector<Vector> hidden(const std::vector<int32_t>& tokens) {
    const size_t C = static_cast<size_t>(c.C);
    std::vector<Vector> x;
    const Vector& table = tensor("model.embed_tokens.weight");
    for (int32_t t : tokens) {
      const auto row = table.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(t) * C);
      x.emplace_back(row, row + c.C);
    }
    for (int l = 0; l < c.L; ++l) {
      const std::string p = "model.layers." + std::to_string(l) + ".";
      const int kind = c.softmax[static_cast<size_t>(l)];
      std::vector<Vector> h;
      for (const Vector& row : x) h.push_back(rmsnorm(row, tensor(p + "input_layernorm.weight"), c.eps));
      const std::vector<Vector> a = kind == 1 ? softmax(h, p + "self_attn.") : lightning(l, h, p + "self_attn.");
      for (size_t t = 0; t < x.size(); ++t) {
        Vector y(C);
        const Vector& r = c.postnorm ? h[t] : x[t];
        for (size_t i = 0; i < C; ++i) y[i] = c.alpha[kind] * r[i] + c.beta[kind] * a[t][i];
        const Vector h2 = rmsnorm(y, tensor(p + "post_attention_layernorm.weight"), c.eps);
        const Vector m = experts(h2, p);
        const Vector& r2 = c.postnorm ? h2 : y;
        for (size_t i = 0; i < C; ++i) x[t][i] = c.alpha_mlp * r2[i] + c.beta_mlp * m[i];
      }
    }
    for (Vector& row : x) row = rmsnorm(row, tensor("model.norm.weight"), c.eps);
    return x;
  }

  Vector logits(const Vector& hidden_row) const {
    return multiply(tensor(w.count("lm_head.weight") ? "lm_head.weight" : "model.embed_tokens.weight"), hidden_row);
  }

  double logprob(const Vector& hidden_row, int32_t target) const {
    const Vector x = logits(hidden_row);
    const double top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double v : x) sum += std::exp(v - top);
    return x[static_cast<size_t>(target)] - top - std::log(sum);
  }
};

}  // namespace fulmen::reference
