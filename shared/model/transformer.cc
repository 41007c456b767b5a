#include "shared/model/transformer.h"

#include <algorithm>
#include <cstring>

#include "kernels/lm_head.h"
#include "kernels/norm.h"
#include "kernels/pointwise.h"
#include "kernels/router.h"
#include "kernels/table.h"
#include "shared/model/tape.h"

namespace fulmen::model {

using kernels::DType;
using kernels::mat;
using kernels::TensorRef;

// ---- What is kept and where
// -------------------------------------------------------------------------------------------

size_t LayerTape::bytes() const {
  size_t floats = 0;
  for (const Buffer* b : {&expert, &order,       &offset,    &mix_expert, &mix_order,  &qkv,       &gate, &q,
                          &k,      &v,           &lse,       &attention,  &y,          &w1,        &w3,   &expert_out,
                          &weight, &shared_gate, &shared_up, &mix_in,     &mix_logits, &mix_weight}) {
    floats += b->size();
  }
  return floats * 4;
}

Tape::Tape(const ModelConfig& c, bool recompute) : state_(std::make_unique<State>()) {
  state_->recompute = recompute;
  state_->x.resize(static_cast<size_t>(c.num_layers) + 1);
  state_->layers.resize(recompute ? 1 : static_cast<size_t>(c.num_layers));
}

Tape::~Tape() = default;

void Tape::clear() {
  for (Buffer& x : state_->x) x = {};
  for (LayerTape& t : state_->layers) t = {};
}

void Transformer::clear_workspace() {
  state_->work = {};
  state_->scratch = {};
}

size_t Tape::bytes() const {
  size_t total = 0;
  for (const Buffer& x : state_->x) total += x.size() * 4;
  for (const LayerTape& t : state_->layers) total += t.bytes();
  return total;
}

Gradients::Gradients(const std::vector<TensorSpec>& specs, kernels::Context* ctx)
    : ctx_(ctx != nullptr && !kernels::host_memory(*ctx) ? ctx : nullptr) {
  size_t floats = 0;
  for (const TensorSpec& spec : specs) {
    offset_.push_back(floats);
    numel_.push_back(static_cast<size_t>(spec.numel()));
    floats += (numel_.back() + 15) / 16 * 16;
  }
  floats = (floats + kRow - 1) / kRow * kRow;
  ctx_ != nullptr ? values_.resize(floats, *ctx_) : values_.resize(floats);
}

void Gradients::zero() {
  const size_t bytes = values_.size() * sizeof(float);
  ctx_ != nullptr ? kernels::fill_zero(values_.data(), bytes, *ctx_) : void(std::memset(values_.data(), 0, bytes));
}

namespace {

LayerParams find_layer(const Weights& w, int l, kernels::Context& ctx) {
  const ModelConfig& c = w.config();
  const std::string layer = "model.layers." + std::to_string(l) + ".";
  const auto id = [&](const std::string& name) { return w.index(layer + name + ".weight"); };
  LayerParams p;
  p.softmax = c.softmax_layer(l);
  p.alpha = p.softmax ? c.alpha_softmax : c.alpha_lightning;
  p.beta = p.softmax ? c.beta_softmax : c.beta_lightning;
  p.norm_in = id("input_layernorm");
  p.norm_post = id("post_attention_layernorm");
  p.router = id("block_sparse_moe.gate");
  if (p.softmax) {
    p.q = id("self_attn.q_proj");
    p.k = id("self_attn.k_proj");
    p.v = id("self_attn.v_proj");
    p.out = id("self_attn.o_proj");
  } else {
    p.qkv = id("self_attn.qkv_proj");
    p.output_gate = id("self_attn.output_gate");
    p.norm = id("self_attn.norm");
    p.out = id("self_attn.out_proj");
    std::vector<float> slope(static_cast<size_t>(c.num_heads));
    std::vector<float> decay(slope.size() * (kernels::kLightningBlock + 1));
    kernels::lightning_slopes(c.num_heads, l, c.num_layers, slope.data());
    kernels::lightning_decay_table(slope.data(), c.num_heads, decay.data());
    p.decay.resize(decay.size(), ctx);
    kernels::copy_in(p.decay.data(), decay.data(), decay.size() * sizeof(float), ctx);
  }
  for (int e = 0; e < c.num_experts; ++e) {
    const std::string expert = "block_sparse_moe.experts." + std::to_string(e) + ".";
    for (auto [name, ids, packed, rows] :
         {std::tuple{"w1", &p.w1, &p.w1_packed, &p.w1_rows}, std::tuple{"w3", &p.w3, &p.w3_packed, &p.w3_rows},
          std::tuple{"w2", &p.w2, &p.w2_packed, &p.w2_rows}}) {
      ids->push_back(id(expert + name));
      packed->push_back(w.packed(ids->back()));
      rows->push_back(w.rows(ids->back()));
    }
  }
  if (c.shared_intermediate_size > 0) {
    p.shared_gate = id("shared_mlp.gate_proj");
    p.shared_up = id("shared_mlp.up_proj");
    p.shared_down = id("shared_mlp.down_proj");
    p.coefficient = id("coefficient");
  }
  return p;
}

void check_batch(const Batch& b, bool with_cache) {
  int64_t next = 0;
  for (const kernels::Segment& s : b.segments) {
    const std::string got = "segment of " + std::to_string(s.rows) + " rows at row " + std::to_string(s.row0) +
                            ", position " + std::to_string(s.pos0);
    FULMEN_CHECK(s.row0 == next && s.rows > 0, "forward: got a " + got + ", want it to start at row " +
                                                   std::to_string(next) + " with at least one row");
    FULMEN_CHECK(with_cache || s.pos0 == 0, "forward: got a " + got + " without a cache, want whole sequences");
    FULMEN_CHECK(!with_cache || (s.slot >= 0 && s.pos0 >= 0),
                 "forward: got a " + got + " with slot " + std::to_string(s.slot) + ", want both not negative");
    next += s.rows;
  }
  FULMEN_CHECK(next == static_cast<int64_t>(b.tokens.size()),
               "forward: segments cover " + std::to_string(next) + " rows, want " + std::to_string(b.tokens.size()));
}

}  // namespace

Transformer::State::State(const Weights& weights, DType cache, kernels::Context& context)
    : w(weights), c(weights.config()), cache_dtype(cache), ctx(context) {
  FULMEN_CHECK(w.packed(), "Transformer: got weights that were never packed, want Weights::pack() first");
  embedding = w.index("model.embed_tokens.weight");
  final_norm = w.index("model.norm.weight");
  lm_head = w.lm_head_index();
  for (int l = 0; l < c.num_layers; ++l) layers.push_back(find_layer(w, l, ctx));
}

void Transformer::State::linear(TensorRef x, size_t weight, TensorRef y) {
  kernels::linear_forward({x, w.packed(weight), y}, ctx);
}

// Every softmax layer, and q and k alike, turn by the same angles: they are computed once for each position.
void Transformer::State::rope(TensorRef x, int heads, const Batch& b, bool inverse) {
  constexpr int64_t kMost = 32768;  // positions in the table, a few MB
  if (kernels::host_memory(ctx) && c.rotary_dim > 0) {
    const int64_t have = static_cast<int64_t>(angles.size()) / c.rotary_dim;
    int64_t wanted = 0;
    for (const kernels::Segment& s : b.segments) wanted = std::max<int64_t>(wanted, s.pos0 + s.rows);
    wanted = std::min(wanted, kMost);
    if (wanted > have) {
      wanted = std::min(std::max(wanted, 2 * have), kMost);
      angles.resize(static_cast<size_t>(wanted * c.rotary_dim));
      kernels::rope_angles(c.rope_theta, c.rotary_dim, have, wanted, angles.data() + have * c.rotary_dim);
    }
  }
  kernels::rope({x, heads, c.head_dim, c.rotary_dim, c.rope_theta, b.segments, inverse, angles}, ctx);
}

// An observer is host code: where the device's memory is another, it is shown a copy.
void Transformer::State::see(int l, const char* op, const TensorRef& rows) {
  if (observer == nullptr) return;
  if (kernels::host_memory(ctx)) return observer->see(l, op, rows);
  const int64_t floats = (rows.dim[0] - 1) * rows.ld + rows.dim[1];
  seen.resize(static_cast<size_t>(floats));
  kernels::copy_out(seen.data(), rows.data, seen.size() * sizeof(float), ctx);
  TensorRef copy = rows;
  copy.data = seen.data();
  observer->see(l, op, copy);
}

// ---- One layer
// --------------------------------------------------------------------------------------------------------

TensorRef Transformer::State::lightning_attention(int l, const Batch& b, const Cache* cache, TensorRef h,
                                                  LayerTape& t) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int H = c.num_heads, D = c.head_dim;
  const int64_t T = h.dim[0], HD = int64_t{H} * D;
  TensorRef qkv = sized(t.qkv, T, 3 * HD), u = kept(t) ? sized(work.qkv, T, 3 * HD) : qkv;
  TensorRef gate = sized(t.gate, T, HD), o = sized(t.attention, T, HD);
  TensorRef gated = kept(t) ? sized(work.attention, T, HD) : o, out = sized(work.branch, T, c.hidden_size);

  const kernels::LinearForward projections[] = {{h, w.packed(p.qkv), qkv}, {h, w.packed(p.output_gate), gate}};
  kernels::linear_forward_together(projections, ctx);
  see(l, "qkv", qkv);
  kernels::silu_forward({qkv, u}, ctx);
  if (cache_dtype == DType::kBf16) kernels::round_to_bf16(u, ctx);
  see(l, "silu", u);
  const kernels::LightningCache* lightning_cache = cache != nullptr ? &cache->lightning(l) : nullptr;
  kernels::lightning_forward({u, o, p.decay.data(), H, D, b.segments, lightning_cache, cache_dtype}, ctx);
  see(l, "lightning", o);
  see(l, "gate", gate);
  kernels::gated_rmsnorm_forward({o, gate, w.rows(p.norm), gated, c.lightning_norm_eps}, ctx);
  see(l, "gated_norm", gated);
  linear(gated, p.out, out);
  return out;
}

TensorRef Transformer::State::softmax_attention(int l, const Batch& b, const Cache* cache, TensorRef h, LayerTape& t) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int H = c.num_heads, KV = c.num_kv_heads, D = c.head_dim;
  const int64_t T = h.dim[0], HD = int64_t{H} * D, KVD = int64_t{KV} * D;
  TensorRef q = sized(t.q, T, HD), k = sized(t.k, T, KVD), v = sized(t.v, T, KVD), o = sized(t.attention, T, HD);
  TensorRef lse = sized(t.lse, T, H), out = sized(work.branch, T, c.hidden_size);

  const kernels::LinearForward projections[] = {{h, w.packed(p.q), q}, {h, w.packed(p.k), k}, {h, w.packed(p.v), v}};
  kernels::linear_forward_together(projections, ctx);
  rope(q, H, b);
  rope(k, KV, b);
  if (cache_dtype == DType::kBf16) {
    kernels::round_to_bf16(k, ctx);
    kernels::round_to_bf16(v, ctx);
  }
  see(l, "q", q);
  see(l, "k", k);
  see(l, "v", v);
  kernels::PagedKvCache pages;
  if (cache != nullptr) pages = cache->softmax(l);
  kernels::attention_forward({q, k, v, o, lse, H, KV, D, b.segments, cache != nullptr ? &pages : nullptr, cache_dtype},
                             ctx);
  see(l, "attention", o);
  linear(o, p.out, out);
  return out;
}

TensorRef Transformer::State::experts(int l, TensorRef h2, LayerTape& t) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int E = c.num_experts, top_k = c.top_k;
  const int64_t T = h2.dim[0], C = c.hidden_size, F = c.intermediate_size, R = T * top_k;
  const std::span<int32_t> expert = indices(t.expert, R), order = indices(t.order, R),
                           offset = indices(t.offset, E + 1);

  TensorRef logits = sized(work.logits, T, E), weight = sized(t.weight, T, top_k);
  linear(h2, p.router, logits);
  see(l, "router", logits);
  kernels::route_forward({logits, top_k, expert, weight}, ctx);
  see(l, "expert_weight", weight);
  kernels::dispatch({expert, E, order, offset}, ctx);

  TensorRef rows = sized(work.gathered, R, C), w1 = sized(t.w1, R, F), w3 = sized(t.w3, R, F);
  TensorRef act = kept(t) ? sized(work.act, R, F) : w1, f = sized(t.expert_out, R, C), y = sized(work.moe, T, C);
  kernels::gather_rows({h2, order, top_k, rows}, ctx);
  const kernels::GroupedLinearForward gate_and_up[] = {{rows, offset, p.w1_packed, w1},
                                                       {rows, offset, p.w3_packed, w3}};
  kernels::grouped_linear_forward_together(gate_and_up, ctx);
  kernels::swiglu_forward({w1, w3, act}, ctx);
  kernels::grouped_linear_forward({act, offset, p.w2_packed, f}, ctx);
  kernels::combine_forward({f, order, weight, y}, ctx);
  see(l, "moe", y);
  return c.shared_intermediate_size > 0 ? shared_expert(l, h2, y, t) : y;
}

// (1 - s) routed + s MLP(h2), s = sigmoid(coefficient . h2): a mixture of two experts that are both always chosen, with
// the logits (0, coefficient . h2). So the router kernels do it, in a fixed order, backward included.
TensorRef Transformer::State::shared_expert(int l, TensorRef h2, TensorRef routed, LayerTape& t) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int64_t T = h2.dim[0], C = c.hidden_size, F = c.shared_intermediate_size;
  TensorRef gate = sized(t.shared_gate, T, F), up = sized(t.shared_up, T, F), act = sized(work.act, T, F);
  TensorRef mix = sized(t.mix_in, 2 * T, C), weight = sized(t.mix_weight, T, 2), logits = sized(t.mix_logits, T, 2);
  TensorRef first_half = mat(mix.row(0), T, C), second_half = mat(mix.row(T), T, C);
  kernels::scaled_add({routed, routed, first_half, 1, 0}, ctx);
  linear(h2, p.shared_gate, gate);
  linear(h2, p.shared_up, up);
  kernels::swiglu_forward({gate, up, act}, ctx);
  linear(act, p.shared_down, second_half);

  linear(h2, p.coefficient, mat(logits.f32() + 1, T, 1, 2));  // column 0 has been zero since the buffer was made
  const std::span<int32_t> expert = indices(t.mix_expert, 2 * T), order = indices(t.mix_order, 2 * T);
  kernels::route_forward({logits, 2, expert, weight}, ctx);
  kernels::dispatch({expert, 2, order, indices(t.mix_offset, 3)}, ctx);
  TensorRef y = sized(work.shared, T, C);
  kernels::combine_forward({mix, order, weight, y}, ctx);
  see(l, "shared", y);
  return y;
}

void Transformer::State::layer_forward(int l, const Batch& b, const Cache* cache, TensorRef x, LayerTape& t,
                                       TensorRef x_out) {
  const LayerParams& p = layers[static_cast<size_t>(l)];
  const int64_t T = x.dim[0], C = c.hidden_size;
  TensorRef h = sized(work.h, T, C), h2 = sized(work.h2, T, C);

  kernels::rmsnorm_forward({x, w.rows(p.norm_in), h, c.rms_norm_eps}, ctx);
  see(l, "norm_in", h);
  TensorRef a = p.softmax ? softmax_attention(l, b, cache, h, t) : lightning_attention(l, b, cache, h, t);
  see(l, "attention_out", a);
  TensorRef y = kept(t) ? sized(t.y, T, C) : a;
  kernels::scaled_add({c.postnorm ? h : x, a, y, p.alpha, p.beta}, ctx);
  see(l, "attention_residual", y);

  kernels::rmsnorm_forward({y, w.rows(p.norm_post), h2, c.rms_norm_eps}, ctx);
  see(l, "norm_post", h2);
  TensorRef m = experts(l, h2, t);
  if (!x_out) return;
  kernels::scaled_add({c.postnorm ? h2 : y, m, x_out, c.alpha_mlp, c.beta_mlp}, ctx);
  see(l, "residual", x_out);
}

// ---- The whole model
// --------------------------------------------------------------------------------------------------

Transformer::Transformer(const Weights& weights, DType cache_dtype, kernels::Context& ctx)
    : state_(std::make_unique<State>(weights, cache_dtype, ctx)) {}

Transformer::~Transformer() = default;

void Transformer::forward(const Batch& batch, Cache* cache, Tape* tape, TensorRef hidden, Observer* observer) {
  State& s = *state_;
  const int64_t T = static_cast<int64_t>(batch.tokens.size()), C = s.c.hidden_size;
  FULMEN_CHECK(cache == nullptr || tape == nullptr, "forward: got both a cache and a tape, want at most one");
  FULMEN_CHECK(cache == nullptr || cache->kv() == s.cache_dtype,
               "forward: the cache holds another dtype than this transformer rounds to");
  check_batch(batch, cache != nullptr);
  if (tape != nullptr) tape->state().rows = T;
  if (T == 0) return;
  kernels::check_shape("forward", "hidden", hidden, {T, C});
  s.observer = observer;
  if (cache != nullptr) cache->send_page_table();

  const auto input_of = [&](size_t l) { return s.sized(tape != nullptr ? tape->state().x[l] : s.work.x, T, C); };
  TensorRef x = input_of(0);
  const TensorRef table = mat(s.w.master(s.embedding).f32(), s.c.vocab_size, s.c.hidden_size);
  kernels::embedding_forward({batch.tokens, table, x, batch.sampled}, s.ctx);
  s.see(-1, "embedding", x);
  for (size_t l = 0; l < s.layers.size(); ++l) {
    const bool keep = tape != nullptr && !tape->state().recompute;
    TensorRef next = input_of(l + 1);
    s.layer_forward(static_cast<int>(l), batch, cache, x, keep ? tape->state().layers[l] : s.scratch, next);
    x = next;
  }
  kernels::rmsnorm_forward({x, s.w.rows(s.final_norm), hidden, s.c.rms_norm_eps}, s.ctx);
  s.see(s.c.num_layers, "final_norm", hidden);
}

void Transformer::logits(TensorRef hidden_rows, TensorRef out) { state_->linear(hidden_rows, state_->lm_head, out); }

size_t Transformer::lm_head_index() const { return state_->lm_head; }

}  // namespace fulmen::model
