#pragma once
// Sampling one token per row, and its log-probability under the distribution actually sampled from.
//
// x = logits / temperature; keep the top_k largest (0 = all; total order: larger first, ties to the lower id); of those
// the smallest set, in that order, whose probability mass reaches top_p (1 = all); of those p >= min_p * p_max (0 =
// all). token = first v, in id order, where the running sum of kept exp(x_v - M) exceeds u * (sum of kept), u in [0,
// 1). temperature 0: the largest logit, ties to the lower id; its logprob is reported at temperature 1 without
// truncation. Without truncation logprob equals lm_head_forward's bit for bit. Row b depends on row b only.

#include <span>

#include "kernels/lm_head.h"

namespace fulmen::kernels {

struct SamplingSettings {
  float temperature = 1;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
};

struct SampleRows {
  TensorRef logits;                            // (B, V) from linear_forward, without temperature; clobbered
  std::span<const SamplingSettings> settings;  // (B)
  std::span<const double> u;  // (B) uniform [0, 1), from the Philox key of (run seed, prompt, sample, position)
  std::span<int32_t> token;   // (B), written
  std::span<float> logprob;   // (B), written
};
void sample_rows(const SampleRows& a, Context& ctx);

}  // namespace fulmen::kernels
