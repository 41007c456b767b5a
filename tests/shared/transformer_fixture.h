#pragma once
// A small model, sequences for it, one learner update's gradients, and the same model as the double reference.

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/lm_head.h"
#include "shared/base/rng.h"
#include "shared/model/parity.h"
#include "tests/reference/transformer_ref.h"

namespace fulmen::model {

using kernels::DType;
using kernels::mat;
using kernels::vec;
using Sequences = std::vector<std::vector<int32_t>>;

struct SmallModel {
  kernels::ThreadPool pool;
  kernels::Context ctx;
  Weights weights;

  explicit SmallModel(const ModelConfig& c = parity_model(), DType dtype = DType::kF32, uint64_t seed = 11,
                      int threads = 1, const char* isa = "auto")
      : pool(threads), ctx(kernels::cpu_context(pool, isa)), weights(c, dtype) {
    parity_init(weights, seed);
    weights.pack(ctx);
  }
  const ModelConfig& config() const { return weights.config(); }
};

inline Sequences random_sequences(const ModelConfig& c, std::vector<int> lengths, uint64_t seed = 5) {
  base::Stream random(seed, base::Purpose::kTest);
  Sequences all;
  for (int n : lengths) {
    all.emplace_back(static_cast<size_t>(n));
    for (int32_t& t : all.back()) t = static_cast<int32_t>(random.next_int(0, c.vocab_size - 1));
  }
  return all;
}

// Whole sequences packed: row t of a sequence predicts its token t + 1. weight: d loss / d logprob of that row.
struct Packed {
  std::vector<int32_t> tokens, target;
  std::vector<float> weight;
  std::vector<kernels::Segment> segments;
  Batch batch() const { return {tokens, segments}; }
  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
};

inline float row_weight(int32_t token, int32_t next) {
  return 0.05f * static_cast<float>((token * 7 + next * 3) % 41 - 20);
}

inline Packed pack(const Sequences& all, size_t begin, size_t end) {
  Packed p;
  for (size_t i = begin; i < end; ++i) {
    const auto& s = all[i];
    const int32_t n = static_cast<int32_t>(s.size()) - 1;
    p.segments.push_back({p.rows(), n, 0, -1});
    for (size_t t = 0; t + 1 < s.size(); ++t) {
      p.tokens.push_back(s[t]);
      p.target.push_back(s[t + 1]);
      p.weight.push_back(row_weight(s[t], s[t + 1]));
    }
  }
  return p;
}
inline Packed pack(const Sequences& all) { return pack(all, 0, all.size()); }

inline std::vector<float> forward_hidden(SmallModel& m, const Packed& p, DType cache = DType::kF32,
                                         Observer* observer = nullptr) {
  std::vector<float> hidden(static_cast<size_t>(p.rows() * m.config().hidden_size));
  Transformer(m.weights, cache, m.ctx)
      .forward(p.batch(), nullptr, nullptr, mat(hidden.data(), p.rows(), m.config().hidden_size), observer);
  return hidden;
}

// Adds the gradients of loss = sum over rows of weight * logprob(target); returns the loss.
inline double add_gradients(SmallModel& m, const Packed& p, Tape& tape, Gradients& g, DType cache = DType::kF32) {
  const int64_t T = p.rows(), C = m.config().hidden_size;
  Transformer model(m.weights, cache, m.ctx);
  const size_t head = model.lm_head_index();
  Buffer hidden(static_cast<size_t>(T * C)), dhidden(static_cast<size_t>(T * C));
  Buffer logprob(static_cast<size_t>(T)), lse(static_cast<size_t>(2 * T));
  const kernels::TensorRef h = mat(hidden.data(), T, C), dh = mat(dhidden.data(), T, C), l = mat(lse.data(), T, 2);
  model.forward(p.batch(), nullptr, &tape, h);
  kernels::lm_head_forward({h, m.weights.packed(head), p.target, 1, vec(logprob.data(), T), {}, l}, m.ctx);
  double loss = 0;
  for (int64_t t = 0; t < T; ++t) loss += static_cast<double>(p.weight[static_cast<size_t>(t)]) * logprob.data()[t];
  kernels::lm_head_backward({h,
                             m.weights.packed(head),
                             m.weights.rows(head),
                             p.target,
                             1,
                             l,
                             {},
                             vec(p.weight.data(), T),
                             {},
                             dh,
                             mat(g.tensor(head).data(), m.config().vocab_size, C)},
                            m.ctx);
  model.backward(p.batch(), tape, dh, g);
  return loss;
}

inline Gradients gradients(SmallModel& m, const Sequences& all, std::vector<size_t> cuts = {}, bool recompute = false,
                           DType cache = DType::kF32) {
  Gradients g(m.weights.specs());
  Tape tape(m.config(), recompute);
  cuts.push_back(all.size());
  for (size_t begin = 0; size_t end : cuts) {
    add_gradients(m, pack(all, begin, end), tape, g, cache);
    begin = end;
  }
  return g;
}

inline int64_t differing(Gradients& a, Gradients& b) {
  int64_t n = 0;
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a.tensor(i).size(); ++j) n += std::memcmp(&a.tensor(i)[j], &b.tensor(i)[j], 4) != 0;
  return n;
}

inline reference::TransformerRef reference_of(const Weights& w) {
  const ModelConfig& c = w.config();
  reference::TransformerRef ref;
  ref.c = {static_cast<int>(c.vocab_size),
           static_cast<int>(c.hidden_size),
           static_cast<int>(c.intermediate_size),
           c.num_layers,
           c.num_heads,
           c.num_kv_heads,
           c.head_dim,
           c.rotary_dim,
           c.num_experts,
           c.top_k,
           static_cast<int>(c.shared_intermediate_size),
           c.attn_type,
           c.rope_theta,
           c.rms_norm_eps,
           c.lightning_norm_eps,
           c.postnorm,
           {c.alpha_lightning, c.alpha_softmax},
           {c.beta_lightning, c.beta_softmax},
           c.alpha_mlp,
           c.beta_mlp};
  for (size_t i = 0; i < w.num_tensors(); ++i) ref.w[w.specs()[i].name].assign(w.tensor(i).begin(), w.tensor(i).end());
  return ref;
}

inline double reference_loss(reference::TransformerRef& ref, const Sequences& all) {
  double loss = 0;
  for (const auto& s : all) {
    const auto hidden = ref.hidden({s.begin(), s.end() - 1});
    for (size_t t = 0; t + 1 < s.size(); ++t)
      loss += static_cast<double>(row_weight(s[t], s[t + 1])) * ref.logprob(hidden[t], s[t + 1]);
  }
  return loss;
}

}  // namespace fulmen::model
