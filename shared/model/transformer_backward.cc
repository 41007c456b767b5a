// Backward of the forward in transformer.cc, layer by layer in reverse. Each gradient is written beside the equation it
// belongs to. Every weight is used once per forward, so each gradient is one chain over the rows of all batches so far.

#include "kernels/norm.h"
#include "kernels/pointwise.h"
#include "kernels/router.h"
#include "shared/model/tape.h"

namespace fulmen::model {

using kernels::DType;
using kernels::mat;
using kernels::TensorRef;

TensorRef Transformer::State::grad(Gradients& g, size_t i) {
  const auto& shape = w.specs()[i].shape;
  float* data = g.tensor(i).data();
  return shape.size() == 1 ? kernels::vec(data, shape[0]) : mat(data, shape[0], shape[1]);
}

std::vector<TensorRef> Transformer::State::grads_of(Gradients& g, const std::vector<size_t>& list) {
  std::vector<TensorRef> refs;
  for (size_t i : list) refs.push_back(grad(g, i));
  return refs;
}

void Transformer::State::linear_back(TensorRef dy, TensorRef x, size_t weight, TensorRef dx, bool accumulate,
                                     Gradients& g) {
  kernels::linear_backward({dy, x, w.rows(weight), dx, accumulate, grad(g, weight)}, ctx);
}

void Transformer::State::lightning_backward(int l, const Batch& b, TensorRef h, LayerTape& t, TensorRef dout,
                                            TensorRef dh, Gradients& g) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int H = c.num_heads, D = c.head_dim;
  const int64_t T = h.dim[0], HD = int64_t{H} * D;
  TensorRef qkv = sized(t.qkv, T, 3 * HD), gate = sized(t.gate, T, HD), o = sized(t.attention, T, HD);
  TensorRef u = sized(work.qkv, T, 3 * HD), gated = sized(work.attention, T, HD);
  TensorRef d_o = sized(work.d_attention, T, HD), d_gate = sized(work.d_gate, T, HD);
  TensorRef d_qkv = sized(work.d_qkv, T, 3 * HD);

  kernels::silu_forward({qkv, u}, ctx);
  if (cache_dtype == DType::kBf16) kernels::round_to_bf16(u, ctx);
  kernels::gated_rmsnorm_forward({o, gate, w.rows(p.norm), gated, c.lightning_norm_eps}, ctx);

  linear_back(dout, gated, p.out, d_o, false, g);
  kernels::gated_rmsnorm_backward({d_o, o, gate, w.rows(p.norm), d_o, d_gate, grad(g, p.norm), c.lightning_norm_eps},
                                  ctx);
  kernels::lightning_backward({u, d_o, d_qkv, p.decay.data(), H, D, b.segments, cache_dtype}, ctx);
  kernels::silu_backward({d_qkv, qkv, d_qkv}, ctx);
  linear_back(d_qkv, h, p.qkv, dh, false, g);
  linear_back(d_gate, h, p.output_gate, dh, true, g);
}

void Transformer::State::softmax_backward(int l, const Batch& b, TensorRef h, LayerTape& t, TensorRef dout,
                                          TensorRef dh, Gradients& g) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int H = c.num_heads, KV = c.num_kv_heads, D = c.head_dim;
  const int64_t T = h.dim[0], HD = int64_t{H} * D, KVD = int64_t{KV} * D;
  TensorRef q = sized(t.q, T, HD), k = sized(t.k, T, KVD), v = sized(t.v, T, KVD), o = sized(t.attention, T, HD);
  TensorRef lse = sized(t.lse, T, H), d_o = sized(work.d_attention, T, HD);
  TensorRef d_qkv = sized(work.d_qkv, T, HD + 2 * KVD);  // three matrices one after the other
  TensorRef dq = mat(d_qkv.f32(), T, HD), dk = mat(dq.f32() + T * HD, T, KVD), dv = mat(dk.f32() + T * KVD, T, KVD);

  linear_back(dout, o, p.out, d_o, false, g);
  kernels::attention_backward({q, k, v, o, lse, d_o, dq, dk, dv, H, KV, D, b.segments, cache_dtype}, ctx);
  rope(dq, H, b, true);
  rope(dk, KV, b, true);
  linear_back(dq, h, p.q, dh, false, g);
  linear_back(dk, h, p.k, dh, true, g);
  linear_back(dv, h, p.v, dh, true, g);
}

// Writes dh2 = gradient through the router, the experts and the shared expert.
void Transformer::State::experts_backward(int l, TensorRef h2, LayerTape& t, TensorRef dm, TensorRef dh2,
                                          Gradients& g) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int E = c.num_experts, top_k = c.top_k;
  const int64_t T = h2.dim[0], C = c.hidden_size, F = c.intermediate_size, R = T * top_k;
  const bool shared = c.shared_intermediate_size > 0;
  TensorRef d_from_shared = sized(work.shared, T, C);
  if (shared) dm = shared_expert_backward(l, h2, t, dm, d_from_shared, g);

  TensorRef weight = sized(t.weight, T, top_k), f = sized(t.expert_out, R, C);
  TensorRef w1 = sized(t.w1, R, F), w3 = sized(t.w3, R, F), act = sized(work.act, R, F),
            rows = sized(work.gathered, R, C);
  TensorRef d_f = sized(work.d_expert_out, R, C), d_weight = sized(work.d_weight, T, top_k);
  TensorRef d_act = sized(work.d_act, R, F), d_up = sized(work.d_up, R, F), d_rows = sized(work.d_gathered, R, C);
  kernels::gather_rows({h2, indices(t.order), top_k, rows}, ctx);
  kernels::swiglu_forward({w1, w3, act}, ctx);

  kernels::combine_backward({dm, f, indices(t.order), weight, d_f, d_weight}, ctx);
  const auto dw1 = grads_of(g, p.w1), dw3 = grads_of(g, p.w3), dw2 = grads_of(g, p.w2);
  kernels::grouped_linear_backward({d_f, act, indices(t.offset), p.w2_rows, d_act, false, dw2}, ctx);
  kernels::swiglu_backward({d_act, w1, w3, d_act, d_up}, ctx);
  kernels::grouped_linear_backward({d_act, rows, indices(t.offset), p.w1_rows, d_rows, false, dw1}, ctx);
  kernels::grouped_linear_backward({d_up, rows, indices(t.offset), p.w3_rows, d_rows, true, dw3}, ctx);
  kernels::gather_rows_backward({d_rows, indices(t.order), top_k, dh2}, ctx);

  TensorRef d_logits = sized(work.d_logits, T, E);
  kernels::route_backward({weight, d_weight, indices(t.expert), top_k, d_logits}, ctx);
  linear_back(d_logits, h2, p.router, dh2, true, g);
  if (shared) kernels::scaled_add({d_from_shared, dh2, dh2, 1, 1}, ctx);
}

// Writes dh2 through the shared expert and its coefficient; returns the gradient of the routed mixture.
TensorRef Transformer::State::shared_expert_backward(int l, TensorRef h2, LayerTape& t, TensorRef dm, TensorRef dh2,
                                                     Gradients& g) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int64_t T = h2.dim[0], C = c.hidden_size, F = c.shared_intermediate_size;
  TensorRef gate = sized(t.shared_gate, T, F), up = sized(t.shared_up, T, F), act = sized(work.act, T, F);
  TensorRef mix = sized(t.mix_in, 2 * T, C), weight = sized(t.mix_weight, T, 2);
  TensorRef d_mix = sized(work.d_mix, 2 * T, C), d_weight = sized(work.d_mix_weight, T, 2);
  TensorRef d_logits = sized(work.d_mix_logits, T, 2);
  TensorRef d_act = sized(work.d_act, T, F), d_up = sized(work.d_up, T, F);
  TensorRef d_routed = mat(d_mix.row(0), T, C), d_shared = mat(d_mix.row(T), T, C);
  kernels::swiglu_forward({gate, up, act}, ctx);

  kernels::combine_backward({dm, mix, indices(t.mix_order), weight, d_mix, d_weight}, ctx);
  linear_back(d_shared, act, p.shared_down, d_act, false, g);
  kernels::swiglu_backward({d_act, gate, up, d_act, d_up}, ctx);
  linear_back(d_act, h2, p.shared_gate, dh2, false, g);
  linear_back(d_up, h2, p.shared_up, dh2, true, g);
  kernels::route_backward({weight, d_weight, indices(t.mix_expert), 2, d_logits}, ctx);
  linear_back(mat(d_logits.f32() + 1, T, 1, 2), h2, p.coefficient, dh2, true, g);
  return d_routed;
}

void Transformer::State::layer_backward(int l, const Batch& b, TensorRef x, LayerTape& t, TensorRef dx, Gradients& g) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int64_t T = x.dim[0], C = c.hidden_size;
  TensorRef h = sized(work.h, T, C), h2 = sized(work.h2, T, C), y = sized(t.y, T, C);
  TensorRef branch = sized(work.d_branch, T, C), dh = sized(work.d_h, T, C), dy = sized(work.d_h2, T, C);
  kernels::rmsnorm_forward({x, w.rows(p.norm_in), h, c.rms_norm_eps}, ctx);
  kernels::rmsnorm_forward({y, w.rows(p.norm_post), h2, c.rms_norm_eps}, ctx);

  // x' = alpha_m r2 + beta_m MoE(h2), h2 = norm(y), r2 = h2 or y
  kernels::scaled_add({dx, dx, branch, c.beta_mlp, 0}, ctx);
  experts_backward(l, h2, t, branch, dy, g);
  if (c.postnorm) kernels::scaled_add({dx, dy, dy, c.alpha_mlp, 1}, ctx);
  kernels::rmsnorm_backward({dy, y, w.rows(p.norm_post), dy, grad(g, p.norm_post), c.rms_norm_eps}, ctx);
  if (!c.postnorm) kernels::scaled_add({dx, dy, dy, c.alpha_mlp, 1}, ctx);

  // y = alpha_a r + beta_a Attn(h), h = norm(x), r = h or x
  kernels::scaled_add({dy, dy, branch, p.beta, 0}, ctx);
  p.softmax ? softmax_backward(l, b, h, t, branch, dh, g) : lightning_backward(l, b, h, t, branch, dh, g);
  if (c.postnorm) kernels::scaled_add({dy, dh, dh, p.alpha, 1}, ctx);
  kernels::rmsnorm_backward({dh, x, w.rows(p.norm_in), dx, grad(g, p.norm_in), c.rms_norm_eps}, ctx);
  if (!c.postnorm) kernels::scaled_add({dy, dx, dx, p.alpha, 1}, ctx);
}

void Transformer::backward(const Batch& batch, Tape& tape, TensorRef dhidden, Gradients& grads) {
  State& s = *state_;
  Tape::State& record = tape.state();
  const int64_t T = static_cast<int64_t>(batch.tokens.size()), C = s.c.hidden_size;
  FULMEN_CHECK(record.rows == T, "backward: the tape holds a forward of " + std::to_string(record.rows) +
                                     " rows, want the " + std::to_string(T) + " of this batch");
  if (T == 0) return;
  kernels::check_shape("backward", "dhidden", dhidden, {T, C});
  s.observer = nullptr;

  TensorRef dx = dhidden;
  const TensorRef last = s.sized(record.x.back(), T, C);
  kernels::rmsnorm_backward({dx, last, s.w.rows(s.final_norm), dx, s.grad(grads, s.final_norm), s.c.rms_norm_eps},
                            s.ctx);
  for (int l = s.c.num_layers - 1; l >= 0; --l) {
    const TensorRef x = s.sized(record.x[static_cast<size_t>(l)], T, C);
    LayerTape& t = record.layers[record.recompute ? 0 : static_cast<size_t>(l)];
    if (record.recompute) s.layer_forward(l, batch, nullptr, x, t, {});
    s.layer_backward(l, batch, x, t, dx, grads);
  }
  kernels::embedding_backward({batch.tokens, dx, s.grad(grads, s.embedding)}, s.ctx);
}

}  // namespace fulmen::model
