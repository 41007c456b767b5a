#pragma once
// THE forward pass (facts/m1_spec section 3), one code for rollout and learner. A batch is a list of rows and the
// segments they form; rollout passes a cache, the learner a tape. The bits of a row's hidden state are the same either
// way.
//
//   h = RMSNorm_in(x);  y = alpha_a r + beta_a Attn(h);  h2 = RMSNorm_post(y);  x' = alpha_m r2 + beta_m MoE(h2)
//   r = h, r2 = h2 when postnorm (M1), else r = x, r2 = y. After the last layer: final RMSNorm.
//
// Cast points: with bf16 weights the linear weights are rounded once, activations stay fp32. With a bf16 cache, K and V
// of softmax layers (after RoPE) and the whole activated q|k|v of lightning layers are rounded on both sides; q is
// rounded with them because the three are interleaved per head. Backward passes straight through the rounding.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kernels/attention.h"
#include "kernels/lightning.h"
#include "shared/model/weights.h"

namespace fulmen::model {

struct Batch {
  std::span<const int32_t> tokens;             // (T)
  std::span<const kernels::Segment> segments;  // cover all rows
  std::span<const int32_t> sampled{};          // what tokens below 0 stand for (kernels::EmbeddingForward)
};

// Rollout state of all layers: lightning slots and pages of softmax KV. Owned by the rollout engine. A slot needs no
// clearing: position 0 starts afresh. Wrong slots and pages throw Error.
class Cache {
 public:
  // In the memory of ctx's device; without one, the host's.
  Cache(const ModelConfig& c, kernels::DType kv, int64_t slots, int64_t pages, int64_t max_pages_per_slot,
        kernels::Context* ctx = nullptr);
  static int64_t slot_bytes(const ModelConfig& c, kernels::DType kv);
  static int64_t page_bytes(const ModelConfig& c, kernels::DType kv);

  // Copies the lightning state and partial block of slot `from` (at `position` tokens) to `to`, all layers.
  void copy_slot(int32_t from, int32_t to, int32_t position);
  void copy_page(int32_t from, int32_t to);  // all softmax layers: for a group's shared last, partial page
  void set_page(int32_t slot, int64_t nth, int32_t page);  // page table entry: tokens [64 nth, 64 nth + 64) of the slot

  const kernels::LightningCache& lightning(int layer) const { return lightning_[static_cast<size_t>(layer)]; }
  kernels::PagedKvCache softmax(int layer) const;
  kernels::DType kv() const { return kv_; }
  void send_page_table();  // to the device, what set_page changed; forward does it

 private:
  void copy(void* to, const void* from, int64_t bytes);

  kernels::Context* ctx_;
  ModelConfig config_;
  kernels::DType kv_;
  int64_t slots_, pages_, max_pages_;
  std::vector<Buffer> storage_;
  std::vector<kernels::LightningCache> lightning_;
  std::vector<kernels::PagedKvCache> softmax_;
  std::vector<int32_t> page_table_;
  Buffer device_page_table_;                        // int32; empty where the device's memory is the host's
  std::vector<std::pair<size_t, size_t>> changed_;  // ranges of the page table not yet sent: [first, last)
};

// What backward needs, written by forward: activations of every layer, or only the layer inputs with recompute
// (backward then runs each layer again: the same bits, one layer's activations at a time). Reusable from batch to
// batch; memory only grows.
class Tape {
 public:
  Tape(const ModelConfig& c, bool recompute);
  ~Tape();
  size_t bytes() const;  // held now
  void clear();          // gives its memory back
  struct State;          // tape.h
  State& state() { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// Gradients in one piece of fp32: the tensors in the order of tensor_specs(), each 64-byte aligned, gaps 0.
class Gradients {
 public:
  static constexpr size_t kRow = 1024;  // all() is whole rows of this, for kernels that take a matrix
  // In the memory of ctx's device; without one, the host's.
  explicit Gradients(const std::vector<TensorSpec>& specs, kernels::Context* ctx = nullptr);
  std::span<float> tensor(size_t i) { return {values_.data() + offset_[i], numel_[i]}; }
  std::span<float> all() { return {values_.data(), values_.size()}; }
  size_t size() const { return numel_.size(); }  // tensors
  void zero();

 private:
  kernels::Context* ctx_;
  std::vector<size_t> offset_, numel_;
  Buffer values_;
};

// Sees each named intermediate of a forward, one row per token: (layer, op, rows). Used to find where two paths part.
// layer -1: embedding; L: final_norm. Per layer: norm_in, qkv, silu, lightning, gate, gated_norm (lightning) or q, k,
// v, attention (softmax), attention_out, attention_residual, norm_post, router, expert_weight, moe, [shared], residual.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void see(int layer, const char* op, const kernels::TensorRef& rows) = 0;
};

class Transformer {
 public:
  // weights must be packed and outlive this object. cache_dtype bf16: K and V are rounded on both sides.
  Transformer(const Weights& weights, kernels::DType cache_dtype, kernels::Context& ctx);
  ~Transformer();

  // hidden (T, C) after the final norm, written. At most one of cache and tape may be given; with neither, whole
  // sequences are scored as with a tape but nothing is kept.
  void forward(const Batch& batch, Cache* cache, Tape* tape, kernels::TensorRef hidden, Observer* observer = nullptr);

  // Adds the gradients of the forward recorded on `tape` given d loss / d hidden (T, C), which is clobbered. `batch` is
  // that of the forward, weights unchanged. Rows enter each gradient in batch order, so splitting the same whole
  // sequences into consecutive batches changes no bit of `grads` (with tied embeddings the low bits of that one tensor
  // do change: head and embedding add to it in turn).
  void backward(const Batch& batch, Tape& tape, kernels::TensorRef dhidden, Gradients& grads);

  // logits of chosen rows of hidden: (n, V), for the sampler.
  void logits(kernels::TensorRef hidden_rows, kernels::TensorRef out);

  void clear_workspace();        // gives the memory of intermediates back; the next forward takes it again
  size_t lm_head_index() const;  // tensor index of lm_head.weight (embedding when tied)

  struct State;  // tape.h

 private:
  std::unique_ptr<State> state_;
};

// Stands for everything outside the weights that the bits of a forward depend on: block, split and chunk sizes, dtypes,
// the constants of the architecture, and what this device's kernels make of a small fixed forward (some milliseconds).
// Hosts with AVX2 and with AVX-512 agree, since their kernels do. Rollout says it in its Hello and in each episode; the
// learner compares.
std::string numerics_digest(kernels::Context& ctx, const ModelConfig& config, kernels::DType cache_dtype,
                            const ComputeDtypes& dtypes);

}  // namespace fulmen::model
