#pragma once
// LM head with the log-probability and entropy of each row, fp32, never holding tokens x vocabulary (m1_spec 6.4: the
// fp32 head is what MiniMax needed for agreement).
//
//   x_v = (chain_k h_k W_vk) * inv_temperature
//   each kVocabChunk columns: m = max x, l = row_sum exp(x - m); chunks merged in ascending order into M, L
//   logprob = (x_target - M) - log L      entropy = log L - (sum exp(x - M) (x - M)) / L      log in fp64, then cast
//
// Rollout (sample_rows on a row of logits) and learner (lm_head_forward) share that code, kernels/cpu/vocabulary_row.h:
// same bits. Rows without a target cost nothing. Extra memory: about 4 MiB, whatever T and V. A row whose logits are
// not all finite gets a logprob that is not a number.

#include <span>

#include "kernels/linear.h"

namespace fulmen::kernels {

inline constexpr int64_t kVocabChunk = 4096;

// The only way from a temperature to inv_temperature: rollout and learner must round it alike.
inline float inverse_temperature(float temperature) { return 1.0f / temperature; }

struct LmHeadForward {
  TensorRef h;                      // (T, C) after the final norm
  PackedWeight w;                   // (V, C)
  std::span<const int32_t> target;  // (T); -1: row is skipped, logprob and entropy 0
  float inv_temperature = 1;
  TensorRef logprob;  // (T), written
  TensorRef entropy;  // (T), written; optional. Nats, of the whole distribution
  TensorRef lse;      // (T, 2): M and L, written; backward needs it
};
void lm_head_forward(const LmHeadForward& a, Context& ctx);

// d loss / d x_v = dlogprob (1[v = target] - p_v) + dentropy dH/dx_v,   dH/dx_v = -p_v (log p_v + H). Logits are
// recomputed. dh is one chain over the vocabulary, dw one chain over rows continued in memory (linear.h).
struct LmHeadBackward {
  TensorRef h;
  PackedWeight w;
  TensorRef w_rows;  // (V, C) unpacked f32 or bf16, the values of w
  std::span<const int32_t> target;
  float inv_temperature = 1;
  TensorRef lse, entropy;  // from forward; entropy only with dentropy
  TensorRef dlogprob;      // (T)
  TensorRef dentropy;      // (T); optional
  TensorRef dh;            // (T, C), written; 0 where a row is skipped
  TensorRef dw;            // (V, C), +=; optional
};
void lm_head_backward(const LmHeadBackward& a, Context& ctx);

}  // namespace fulmen::kernels
