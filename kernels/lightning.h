#pragma once
// Lightning attention (MiniMax-01, arXiv 2501.08313; facts m1_spec 3.2), the recurrence S_t = lam S_{t-1} + k_t v_t^T,
// o_t = S_t^T q_t, computed block-aligned: blocks of kLightningBlock = 64 tokens counted from the SEQUENCE start. With
// S the state at the block's start, i the row in the block, pw[m] = float(exp(-slope * m)) from fp64:
//
//   o_i  = (chain_k fma(q_ik, S_k, 0)) * pw[i+1]
//   p_j  = (chain_k fma(q_ik, k_jk, 0)) * pw[i-j]        j = 0..i
//   o_i  = chain_j fma(p_j, v_j, o_i)                    j = 0..i
//   dS   = chain_j fma(k_j * pw[63-j], v_j, 0);  S' = fma(pw[64], S, dS)      once per full block
//
// Decode is one row of the same formula on a cached partial block (n = pos0 % 64, K and V of the block so far); the
// state advances lazily, by the first token of the next block. So decode, any prefill split and the learner's packed
// forward give the same bits. q, k, v are already activated (SiLU) and already rounded to the cache dtype where that is
// bf16.

#include <span>

#include "kernels/context.h"

namespace fulmen::kernels {

inline constexpr int kLightningBlock = 64;

// Decay tables of the H heads of one layer: pw[h][0..64]. Caller owns (H, kLightningBlock + 1).
// slope(h, layer) = m_h * (1 - layer/(L-1) + 1e-5), m_h by the ALiBi rule also when H is no power of two; L <= 1:
// m_h(1+1e-5).
void lightning_slopes(int H, int layer, int L, float* slope);      // (H)
void lightning_decay_table(const float* slope, int H, float* pw);  // (H, 65)

// Rollout cache of one layer; views, owned by the role. Slot s, head h:
struct LightningCache {
  float* state = nullptr;  // (slots, H, D, D)   S[k][v] at the start of the current block
  void* k = nullptr;       // (slots, H, 64/16, D, 16)  panels of 16 tokens, dtype kv
  void* v = nullptr;       // (slots, H, 64, D)
  DType kv = DType::kF32;
  int64_t slots = 0;
};

struct LightningForward {
  TensorRef qkv{};            // (T, H*3*D) activated; per head q|k|v blocks of D (MiniMax layout)
  TensorRef o{};              // (T, H*D), written
  const float* pw = nullptr;  // (H, 65)
  int H = 0, D = 0;           // D a multiple of 16, <= 256
  std::span<const Segment> segments{};
  const LightningCache* cache =
      nullptr;             // null: learner, every segment is a whole sequence with pos0 = 0, slot ignored.
                           // Otherwise a segment with pos0 = 0 starts from zero state (slot need not be cleared).
  DType kv = DType::kF32;  // that q, k, v are rounded to; with a cache, its kv counts. The device decides what bf16
                           // multiplies on: the CPU in fp32 all the same, CUDA on its tensor cores
};
void lightning_forward(const LightningForward& a, Context& ctx);

// Gradient of the learner's forward (cache == null). Recomputes block states. m1_spec 3.2, last formula block.
struct LightningBackward {
  TensorRef qkv{};   // (T, H*3*D) as in forward
  TensorRef d_o{};   // (T, H*D)
  TensorRef dqkv{};  // (T, H*3*D), written
  const float* pw = nullptr;
  int H = 0, D = 0;
  std::span<const Segment> segments{};
  DType kv = DType::kF32;  // as in forward
};
void lightning_backward(const LightningBackward& a, Context& ctx);

// The plain token recurrence with the same cache state; the rival of `fulmen bench` and a negative control of the bit
// tests.
struct LightningRecurrentStep {
  TensorRef qkv{};  // (B, H*3*D), one row per sequence
  TensorRef o{};    // (B, H*D)
  const float* pw = nullptr;
  int H = 0, D = 0;
  float* state = nullptr;  // (B, H, D, D)
};
void lightning_recurrent_step(const LightningRecurrentStep& a, Context& ctx);

}  // namespace fulmen::kernels
