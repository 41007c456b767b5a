#pragma once
// Architecture of an M1-style model, as its config.json says it (facts/m1_spec section 1), and the names and shapes of
// its tensors on disk. Describes M1 itself (456 B parameters) without allocating anything.

#include <cstdint>
#include <string>
#include <vector>

namespace fulmen::model {

struct ModelConfig {
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0;                     // V, C, F
  int num_layers = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0, rotary_dim = 0;  // L, H, KV, D
  int num_experts = 0, top_k = 2;                                                     // E
  std::vector<int> attn_type;                                                         // (L): 0 lightning, 1 softmax
  double rope_theta = 1e7;
  float rms_norm_eps = 1e-5f, lightning_norm_eps = 1e-6f;  // the latter is ours (config key lightning_norm_eps)
  bool postnorm = true;
  float alpha_softmax = 1, beta_softmax = 1, alpha_lightning = 1, beta_lightning = 1, alpha_mlp = 1, beta_mlp = 1;
  int64_t shared_intermediate_size = 0;  // > 0: shared expert with sigmoid coefficient
  int64_t bos_token_id = -1, eos_token_id = -1;
  int64_t max_position_embeddings = 0;
  double initializer_range = 0.02;
  bool tie_word_embeddings = false;  // then there is no lm_head.weight; the embedding serves
  std::string architecture = "MiniMaxM1ForCausalLM";
  std::string raw_json;  // the file as read: export keeps its keys

  bool softmax_layer(int l) const { return attn_type[static_cast<size_t>(l)] == 1; }
};

// Accepts the architectures MiniMaxM1ForCausalLM, MiniMaxText01ForCausalLM and MiniMaxForCausalLM and both key sets
// (original, transformers-native). A missing key has the default of its class (postnorm: false for the original, always
// on for the native one); attn_type_list is required in the original set. rotary_dim counts in native files too: their
// code ignores it, but the weights were trained with it. Throws Error naming file, key, got, want, also for features
// that are not computed here.
ModelConfig parse_model_config(const std::string& json, const std::string& where);
// Where `path` keeps its config.json: itself, or its model/ (a checkpoint of a run) or export/ (a run) when only that
// has one.
std::string weights_directory(const std::string& path);
ModelConfig load_model_config(const std::string& path);  // a config.json, or a directory as above
std::string model_config_json(const ModelConfig& c);     // M1 keys, ready for export

struct TensorSpec {
  std::string name;            // Hugging Face name, e.g. model.layers.3.self_attn.qkv_proj.weight
  std::vector<int64_t> shape;  // PyTorch order, linear layers (out, in)
  bool fp32_on_disk = false;   // router
  int64_t numel() const;
};

// All tensors of the original layout in a fixed order (embedding; per layer ascending: input norm, attention, post
// norm, router, experts w1 w2 w3 ascending, shared expert; final norm; lm_head unless tied). The order is the order of
// gradients, optimizer state and manifests too.
std::vector<TensorSpec> tensor_specs(const ModelConfig& c);

struct ModelCounts {
  int64_t tensors = 0, parameters = 0, bytes = 0;  // bytes: 2 per value, fp32 router 4 (tied: no lm_head)
  int64_t active_per_token = 0;                    // without embedding and lm_head, as MiniMax counts 45.9 B
};
ModelCounts count_model(const ModelConfig& c);

}  // namespace fulmen::model
