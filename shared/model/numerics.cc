// The numerics digest: what is fixed by name, and what this device makes of a small forward. Two hosts with different
// instruction sets agree when their kernels give the same bits, and only then.

#include <cstdio>

#include "kernels/lm_head.h"
#include "kernels/table.h"
#include "shared/model/transformer.h"

namespace fulmen::model {
namespace {

using kernels::DType;

// Both kinds of layer, experts and a shared one, over an odd number of rows that cross a block; fixed weights.
constexpr char kProbeModel[] = R"({"architectures":["MiniMaxM1ForCausalLM"],"model_type":"minimax_m1",
  "attn_type_list":[0,1],"hidden_size":128,"intermediate_size":128,"num_hidden_layers":2,"num_attention_heads":2,
  "num_key_value_heads":1,"head_dim":64,"rotary_dim":32,"num_local_experts":4,"num_experts_per_tok":2,"vocab_size":256,
  "shared_intermediate_size":128,"shared_moe_mode":"sigmoid","postnorm":true,"rope_theta":10000,"initializer_range":0.08,
  "layernorm_linear_attention_alpha":3.5,"layernorm_full_attention_alpha":3.5,"layernorm_mlp_alpha":3.5})";

base::Digest digest_of(const Buffer& b, kernels::Context& ctx) {
  std::vector<float> values(b.size());
  kernels::copy_out(values.data(), b.data(), b.size() * sizeof(float), ctx);
  return base::digest128(values.data(), values.size() * sizeof(float));
}

base::Digest probe(kernels::Context& ctx, DType cache_dtype, const ComputeDtypes& dtypes) {
  const ModelConfig c = parse_model_config(kProbeModel, "numerics probe");
  Weights weights(c, dtypes);
  weights.init_random(20250616);
  weights.pack(ctx);
  Transformer model(weights, cache_dtype, ctx);
  constexpr int64_t kRows = 147, kFirst = 83;
  std::vector<int32_t> tokens(kRows), targets(kRows);
  for (size_t t = 0; t < kRows; ++t)
    tokens[t] = static_cast<int32_t>(t * 37 % 256), targets[t] = static_cast<int32_t>(t * 59 % 256);
  const std::vector<kernels::Segment> segments{{0, kFirst, 0, 0}, {kFirst, kRows - kFirst, 0, 0}};
  Buffer hidden(static_cast<size_t>(kRows * c.hidden_size), ctx),
      found(4 * kRows, ctx);  // log-prob, entropy, lse pairs
  model.forward({tokens, segments}, nullptr, nullptr, kernels::mat(hidden.data(), kRows, c.hidden_size));
  kernels::lm_head_forward({.h = kernels::mat(hidden.data(), kRows, c.hidden_size),
                            .w = weights.packed(model.lm_head_index()),
                            .target = targets,
                            .inv_temperature = kernels::inverse_temperature(0.7f),
                            .logprob = kernels::vec(found.data(), kRows),
                            .entropy = kernels::vec(found.data() + kRows, kRows),
                            .lse = kernels::mat(found.data() + 2 * kRows, kRows, 2)},
                           ctx);
  const base::Digest of_hidden = digest_of(hidden, ctx), of_found = digest_of(found, ctx);
  uint8_t both[32];
  std::copy(of_hidden.begin(), of_hidden.end(), both);
  std::copy(of_found.begin(), of_found.end(), both + 16);
  return base::digest128(both, sizeof both);
}

}  // namespace

std::string numerics_digest(kernels::Context& ctx, const ModelConfig& c, DType cache_dtype,
                            const ComputeDtypes& dtypes) {
  const auto name = [](DType t) { return t == DType::kF32 ? "fp32" : "bf16"; };
  char text[1024];
  const int n = std::snprintf(
      text, sizeof text,
      "fulmen numerics 3; kernels %u give %s; lightning block %d; attention tile %d split %d; vocabulary chunk %lld; "
      "cache %s; weights %s; lm_head %s, its sums and router fp32; eps %a %a; postnorm %d; alpha beta %a %a %a %a %a "
      "%a; rope %a %d; "
      "top_k %d",
      ctx.table->version, base::hex(probe(ctx, cache_dtype, dtypes)).c_str(), kernels::kLightningBlock,
      kernels::kAttentionTile, kernels::kAttentionSplit, static_cast<long long>(kernels::kVocabChunk),
      name(cache_dtype), name(dtypes.weights), name(dtypes.head), static_cast<double>(c.rms_norm_eps),
      static_cast<double>(c.lightning_norm_eps), c.postnorm ? 1 : 0, static_cast<double>(c.alpha_softmax),
      static_cast<double>(c.beta_softmax), static_cast<double>(c.alpha_lightning),
      static_cast<double>(c.beta_lightning), static_cast<double>(c.alpha_mlp), static_cast<double>(c.beta_mlp),
      c.rope_theta, c.rotary_dim, c.top_k);
  return base::hex(base::digest128(text, static_cast<size_t>(n)));
}

}  // namespace fulmen::model
