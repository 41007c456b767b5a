#pragma once
// Internal to transformer.cc and transformer_backward.cc: what a layer's forward leaves for its backward, and the
// buffers both passes work in.

#include <span>
#include <string>
#include <vector>

#include "shared/model/transformer.h"

namespace fulmen::model {

// One layer's activations. Only results of matrix products and attention are kept; what row-wise kernels make of them
// (norms, SiLU, SwiGLU, gathered rows) backward makes again, bit for bit. R = T * top_k rows in expert order.
struct LayerTape {
  Buffer qkv, gate;                       // lightning: (T, H*3*D) before SiLU, (T, H*D) before the sigmoid
  Buffer q, k, v, lse;                    // softmax: after RoPE and rounding; (T, H)
  Buffer attention;                       // (T, H*D) output of the attention kernel
  Buffer y;                               // (T, C) after the attention residual
  Buffer w1, w3, expert_out;              // (R, F), (R, F), (R, C)
  Buffer weight;                          // (T, top_k)
  Buffer expert, order, offset;           // int32: (T*top_k), (T*top_k), (E + 1)
  Buffer shared_gate, shared_up;          // (T, Fs)
  Buffer mix_in, mix_logits, mix_weight;  // (2T, C), (T, 2), (T, 2): see shared_expert_forward
  Buffer mix_expert, mix_order, mix_offset;

  size_t bytes() const;
};

struct Tape::State {
  bool recompute = false;
  int64_t rows = 0;               // of the forward on record
  std::vector<Buffer> x;          // L + 1: layer inputs, then the input of the final norm
  std::vector<LayerTape> layers;  // L, or one that backward refills for each layer
};

// One layer's parameters: indices into tensor_specs(), and the expert lists in the form the grouped kernels take.
struct LayerParams {
  bool softmax = false;
  float alpha = 1, beta = 1;  // attention residual
  size_t norm_in = 0, norm_post = 0, router = 0;
  size_t qkv = 0, output_gate = 0, norm = 0, out = 0;  // lightning; `out` serves both
  size_t q = 0, k = 0, v = 0;                          // softmax
  std::vector<size_t> w1, w3, w2;                      // experts
  size_t shared_gate = 0, shared_up = 0, shared_down = 0, coefficient = 0;
  Buffer decay;  // lightning (H, 65)
  std::vector<kernels::PackedWeight> w1_packed, w3_packed, w2_packed;
  std::vector<kernels::TensorRef> w1_rows, w3_rows, w2_rows;
};

// Memory that lives for one layer's forward or backward. Grows only.
struct Workspace {
  Buffer x, h, h2, qkv, attention, branch, logits, gathered, act, moe, shared;  // forward
  Buffer d_h, d_h2, d_branch, d_attention, d_qkv, d_gate, d_expert_out, d_gathered, d_act, d_up, d_weight, d_logits;
  Buffer d_mix, d_mix_weight, d_mix_logits;
};

struct Transformer::State {
  State(const Weights& weights, kernels::DType cache_dtype, kernels::Context& context);

  const Weights& w;
  const ModelConfig& c;
  kernels::DType cache_dtype;
  kernels::Context& ctx;
  std::vector<LayerParams> layers;
  size_t embedding, final_norm, lm_head;
  Workspace work;
  LayerTape scratch;             // the tape of forwards without one
  std::vector<float> angles;     // of RoPE, for the positions seen so far; empty where the device computes its own
  Observer* observer = nullptr;  // of the forward in progress
  Buffer seen;                   // host: what the observer is shown

  // Will backward read t? If not, row-wise kernels work in place: half the memory to walk.
  bool kept(const LayerTape& t) const { return &t != &scratch; }

  // Forward. x_out may be x; absent: the layer is run only to refill the tape.
  void layer_forward(int l, const Batch& b, const Cache* cache, kernels::TensorRef x, LayerTape& t,
                     kernels::TensorRef x_out);
  kernels::TensorRef lightning_attention(int l, const Batch& b, const Cache* cache, kernels::TensorRef h, LayerTape& t);
  kernels::TensorRef softmax_attention(int l, const Batch& b, const Cache* cache, kernels::TensorRef h, LayerTape& t);
  kernels::TensorRef experts(int l, kernels::TensorRef h2, LayerTape& t);
  kernels::TensorRef shared_expert(int l, kernels::TensorRef h2, kernels::TensorRef routed, LayerTape& t);

  // Backward. dx: in d loss / d layer output, out d loss / d layer input.
  void layer_backward(int l, const Batch& b, kernels::TensorRef x, LayerTape& t, kernels::TensorRef dx, Gradients& g);
  void lightning_backward(int l, const Batch& b, kernels::TensorRef h, LayerTape& t, kernels::TensorRef dout,
                          kernels::TensorRef dh, Gradients& g);
  void softmax_backward(int l, const Batch& b, kernels::TensorRef h, LayerTape& t, kernels::TensorRef dout,
                        kernels::TensorRef dh, Gradients& g);
  void experts_backward(int l, kernels::TensorRef h2, LayerTape& t, kernels::TensorRef dm, kernels::TensorRef dh2,
                        Gradients& g);
  kernels::TensorRef shared_expert_backward(int l, kernels::TensorRef h2, LayerTape& t, kernels::TensorRef dm,
                                            kernels::TensorRef dh2, Gradients& g);

  // Buffers of the device, grown as needed; indices are 4-byte integers in one.
  kernels::TensorRef sized(Buffer& b, int64_t rows, int64_t cols) {
    b.resize(static_cast<size_t>(rows * cols), ctx);
    return kernels::mat(b.data(), rows, cols);
  }
  std::span<int32_t> indices(Buffer& b, int64_t n) {
    b.resize(static_cast<size_t>(n), ctx);
    return indices(b);
  }
  static std::span<int32_t> indices(Buffer& b) { return {reinterpret_cast<int32_t*>(b.data()), b.size()}; }

  void linear(kernels::TensorRef x, size_t weight, kernels::TensorRef y);
  void rope(kernels::TensorRef x, int heads, const Batch& b, bool inverse = false);  // in place
  // dx absent: weights only. accumulate: dx += instead of =.
  void linear_back(kernels::TensorRef dy, kernels::TensorRef x, size_t weight, kernels::TensorRef dx, bool accumulate,
                   Gradients& g);
  kernels::TensorRef grad(Gradients& g, size_t i);
  std::vector<kernels::TensorRef> grads_of(Gradients& g, const std::vector<size_t>& list);
  void see(int l, const char* op, const kernels::TensorRef& rows);
};

}  // namespace fulmen::model
