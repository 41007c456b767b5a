// Names, shapes and counts of the tensors of the original layout; both follow one walk over the layers.
#include <string>

#include "kernels/error.h"
#include "shared/model/model_config.h"

namespace fulmen::model {
namespace {

constexpr int64_t kMaxTensors = 1'000'000;
constexpr int64_t kMaxBytes = int64_t{1} << 60;

std::vector<TensorSpec> attention_specs(const ModelConfig& c, int layer, const std::string& prefix) {
  const int64_t C = c.hidden_size, HD = int64_t{c.num_heads} * c.head_dim, KD = int64_t{c.num_kv_heads} * c.head_dim;
  if (c.softmax_layer(layer))
    return {{prefix + "q_proj.weight", {HD, C}, false},
            {prefix + "k_proj.weight", {KD, C}, false},
            {prefix + "v_proj.weight", {KD, C}, false},
            {prefix + "o_proj.weight", {C, HD}, false}};
  return {{prefix + "qkv_proj.weight", {3 * HD, C}, false},
          {prefix + "output_gate.weight", {HD, C}, false},
          {prefix + "norm.weight", {HD}, false},
          {prefix + "out_proj.weight", {C, HD}, false}};
}

std::vector<TensorSpec> expert_specs(const ModelConfig& c, const std::string& prefix) {
  const int64_t C = c.hidden_size, F = c.intermediate_size;
  return {{prefix + "w1.weight", {F, C}, false},
          {prefix + "w2.weight", {C, F}, false},
          {prefix + "w3.weight", {F, C}, false}};
}

std::vector<TensorSpec> shared_expert_specs(const ModelConfig& c, const std::string& layer_prefix) {
  const int64_t C = c.hidden_size, S = c.shared_intermediate_size;
  if (S == 0) return {};
  const std::string mlp = layer_prefix + "shared_mlp.";
  return {{mlp + "gate_proj.weight", {S, C}, false},
          {mlp + "up_proj.weight", {S, C}, false},
          {mlp + "down_proj.weight", {C, S}, false},
          {layer_prefix + "coefficient.weight", {1, C}, false}};
}

TensorSpec router_spec(const ModelConfig& c, const std::string& layer_prefix) {
  return {layer_prefix + "block_sparse_moe.gate.weight", {c.num_experts, c.hidden_size}, true};
}

// Adds `times` copies of `specs`; 128-bit products, because a hostile config.json may ask for any size.
struct Sum {
  ModelCounts counts;

  void add(const std::vector<TensorSpec>& specs, int64_t times, int64_t active) {
    for (const TensorSpec& s : specs) {
      __int128 n = 1;
      for (int64_t d : s.shape) n *= d;
      const __int128 tensors = counts.tensors + __int128{times};
      const __int128 parameters = counts.parameters + n * times;
      const __int128 bytes = counts.bytes + n * times * (s.fp32_on_disk ? 4 : 2);
      FULMEN_CHECK(tensors <= kMaxTensors && bytes <= kMaxBytes,
                   "model too large: more than " + std::to_string(kMaxTensors) + " tensors or 2^60 bytes");
      counts.tensors = static_cast<int64_t>(tensors);
      counts.parameters = static_cast<int64_t>(parameters);
      counts.bytes = static_cast<int64_t>(bytes);
      counts.active_per_token += static_cast<int64_t>(n * active);
    }
  }
};

}  // namespace

int64_t TensorSpec::numel() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

std::vector<TensorSpec> tensor_specs(const ModelConfig& c) {
  const int64_t C = c.hidden_size;
  std::vector<TensorSpec> specs;
  auto append = [&](const std::vector<TensorSpec>& more) { specs.insert(specs.end(), more.begin(), more.end()); };
  specs.push_back({"model.embed_tokens.weight", {c.vocab_size, C}, false});
  for (int l = 0; l < c.num_layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    specs.push_back({layer + "input_layernorm.weight", {C}, false});
    append(attention_specs(c, l, layer + "self_attn."));
    specs.push_back({layer + "post_attention_layernorm.weight", {C}, false});
    specs.push_back(router_spec(c, layer));
    for (int e = 0; e < c.num_experts; ++e)
      append(expert_specs(c, layer + "block_sparse_moe.experts." + std::to_string(e) + "."));
    append(shared_expert_specs(c, layer));
  }
  specs.push_back({"model.norm.weight", {C}, false});
  if (!c.tie_word_embeddings) specs.push_back({"lm_head.weight", {c.vocab_size, C}, false});
  return specs;
}

ModelCounts count_model(const ModelConfig& c) {
  const TensorSpec table{"", {c.vocab_size, c.hidden_size}, false}, norm{"", {c.hidden_size}, false};
  Sum sum;
  sum.add({table}, c.tie_word_embeddings ? 1 : 2, 0);
  sum.add({norm}, 1, 1);
  for (int l = 0; l < c.num_layers; ++l) {
    sum.add({norm, norm, router_spec(c, "")}, 1, 1);
    sum.add(attention_specs(c, l, ""), 1, 1);
    sum.add(expert_specs(c, ""), c.num_experts, c.top_k);
    sum.add(shared_expert_specs(c, ""), 1, 1);
  }
  return sum.counts;
}

}  // namespace fulmen::model
