#pragma once
// Sampling one token per row, and its log-probability under the distribution actually sampled from.
//
// x = logits * inverse_temperature(temperature). Truncation, in this order, each step on what the one before kept:
//   top_k: the k first of the total order (larger x first, ties to the lower id); 0 = all
//   top_p: the shortest beginning of that order whose share of the mass (renormalised after top_k) reaches top_p; 1 =
//   all min_p: p >= min_p * p_max; 0 = all
// token = first v, in id order, where the running sum of kept exp(x_v - M) exceeds u * (sum of kept), u in [0, 1). The
// running sum goes by chunks of kVocabChunk, then Vecs, then single ids, in fp64.
// logprob is that of the kept set renormalised; without truncation it equals lm_head_forward's bit for bit.
// temperature 0: the largest logit, ties to the lower id; its logprob is reported at temperature 1 without truncation.
// Row b depends on row b only. A logit that is not finite is an Error that names the row.

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
  TensorRef logits;  // (B, V) from linear_forward, without temperature; clobbered by truncation
  std::span<const SamplingSettings> settings;  // (B)
  std::span<const double> u;  // (B) uniform [0, 1), from the Philox key of (run seed, prompt, sample, position)
  std::span<int32_t> token;   // (B), written
  std::span<float> logprob;   // (B), written
};
void sample_rows(const SampleRows& a, Context& ctx);  // token and logprob in the host's memory: waits
// The same without waiting: token and logprob are in the device's memory, where the next forward can read them
// (EmbeddingForward). The token of a row with a logit that is not finite is -1.
void queue_sample_rows(const SampleRows& a, Context& ctx);

}  // namespace fulmen::kernels
