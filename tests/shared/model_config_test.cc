#include "shared/model/model_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "shared/base/file.h"

namespace fulmen::model {
namespace {

using Json = nlohmann::ordered_json;

const std::string kM1 = std::string(FULMEN_SOURCE_DIR) + "/configs/m1/config.json";

Json m1() { return Json::parse(base::read_file(kM1)); }

ModelConfig parse(const Json& j) { return parse_model_config(j.dump(), "f.json"); }

std::string error_of(const std::string& text) {
  try {
    parse_model_config(text, "f.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(ModelConfig, M1IsCountedExactly) {
  const ModelConfig c = load_model_config(kM1);
  const ModelCounts n = count_model(c);
  EXPECT_EQ(n.tensors, 8243);
  EXPECT_EQ(n.parameters, 456'089'655'296);
  EXPECT_EQ(n.bytes, 912'210'767'872);
  EXPECT_EQ(n.active_per_token, 45'944'920'064);
}

TEST(ModelConfig, M1IsReadAsItsFileSays) {
  const ModelConfig c = load_model_config(std::string(FULMEN_SOURCE_DIR) + "/configs/m1");
  EXPECT_EQ(c.num_layers, 80);
  for (int l = 0; l < 80; ++l) EXPECT_EQ(c.softmax_layer(l), l % 8 == 7) << l;
  EXPECT_EQ(c.rotary_dim, 64);
  EXPECT_TRUE(c.postnorm);
  EXPECT_EQ(c.alpha_lightning, 3.5565588200778455f);
  EXPECT_EQ(c.rope_theta, 1e7);
  EXPECT_EQ(c.bos_token_id, -1);
  EXPECT_EQ(c.lightning_norm_eps, 1e-6f);
}

TEST(ModelConfig, CountsAreTheSumsOverTheTensorNames) {
  Json shared = m1(), tied = m1();
  shared["shared_intermediate_size"] = 1024;
  tied["tie_word_embeddings"] = true;
  for (const Json& j : {m1(), shared, tied}) {
    const ModelConfig c = parse(j);
    ModelCounts sum;
    std::set<std::string> names;
    for (const TensorSpec& s : tensor_specs(c)) {
      names.insert(s.name);
      sum.tensors += 1;
      sum.parameters += s.numel();
      sum.bytes += s.numel() * (s.fp32_on_disk ? 4 : 2);
    }
    const ModelCounts n = count_model(c);
    EXPECT_EQ(n.tensors, sum.tensors);
    EXPECT_EQ(n.parameters, sum.parameters);
    EXPECT_EQ(n.bytes, sum.bytes);
    EXPECT_EQ(static_cast<int64_t>(names.size()), sum.tensors);
  }
}

TEST(ModelConfig, TensorOrderIsFixed) {
  const auto specs = tensor_specs(load_model_config(kM1));
  EXPECT_EQ(specs[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(specs[1].name, "model.layers.0.input_layernorm.weight");
  EXPECT_EQ(specs[2].name, "model.layers.0.self_attn.qkv_proj.weight");
  EXPECT_EQ(specs[2].shape, (std::vector<int64_t>{24576, 6144}));
  EXPECT_EQ(specs[7].name, "model.layers.0.block_sparse_moe.gate.weight");
  EXPECT_TRUE(specs[7].fp32_on_disk);
  EXPECT_EQ(specs[8].name, "model.layers.0.block_sparse_moe.experts.0.w1.weight");
  EXPECT_EQ(specs[8241].name, "model.norm.weight");
  EXPECT_EQ(specs[8242].name, "lm_head.weight");
}

TEST(ModelConfig, MissingKeysHaveTheDefaultsOfTheOriginalClass) {
  const ModelConfig c =
      parse({{"architectures", {"MiniMaxText01ForCausalLM"}}, {"attn_type_list", {0, 1}}, {"num_hidden_layers", 2}});
  EXPECT_EQ(c.vocab_size, 32000);
  EXPECT_EQ(c.hidden_size, 4096);
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.rotary_dim, 128);
  EXPECT_EQ(c.num_kv_heads, 8);
  EXPECT_EQ(c.num_experts, 8);
  EXPECT_EQ(c.rope_theta, 1e6);
  EXPECT_FALSE(c.postnorm);
  EXPECT_EQ(c.alpha_mlp, 1.0f);
}

TEST(ModelConfig, NativeKeysMeanTheSameModel) {
  Json native = m1();
  for (const char* k : {"attn_type_list", "layernorm_full_attention_alpha", "layernorm_linear_attention_alpha",
                        "layernorm_mlp_alpha", "postnorm", "rope_theta", "num_local_experts"})
    native.erase(k);
  native["architectures"] = {"MiniMaxForCausalLM"};
  native["model_type"] = "minimax";
  for (int l = 0; l < 80; ++l) native["layer_types"].push_back(l % 8 == 7 ? "full_attention" : "linear_attention");
  native["full_attn_alpha_factor"] = native["linear_attn_alpha_factor"] = native["mlp_alpha_factor"] =
      3.5565588200778455;
  native["rope_parameters"] = {{"rope_theta", 1e7}, {"rope_type", "default"}};
  native["num_experts"] = 32;
  const ModelConfig a = parse(native);
  // Its export speaks M1's keys and no other.
  const Json back = Json::parse(model_config_json(a));
  Json want = m1();
  for (auto& [key, value] : want.items()) EXPECT_EQ(back.value(key, Json("missing")), value) << key;
  EXPECT_EQ(back.size(), want.size());
}

TEST(ModelConfig, NativeDefaultsAlternateStartingWithSoftmax) {
  const ModelConfig c = parse({{"architectures", {"MiniMaxForCausalLM"}}, {"num_hidden_layers", 3}});
  EXPECT_EQ(c.attn_type, (std::vector<int>{1, 0, 1}));
  EXPECT_TRUE(c.postnorm);
  EXPECT_EQ(c.bos_token_id, 1);
  EXPECT_EQ(c.eos_token_id, 2);
}

TEST(ModelConfig, ExportOfAnUnchangedFileIsThatFile) {
  const std::string raw = base::read_file(kM1);
  EXPECT_EQ(model_config_json(parse_model_config(raw, "x")), raw);
}

TEST(ModelConfig, ExportOfAChangedConfigKeepsForeignKeysAndReadsBack) {
  ModelConfig c = load_model_config(kM1);
  c.eos_token_id = 7;
  c.rms_norm_eps = 1e-6f;
  const std::string json = model_config_json(c);
  EXPECT_NE(json.find("auto_map"), std::string::npos);
  const ModelConfig back = parse_model_config(json, "x");
  EXPECT_EQ(back.eos_token_id, 7);
  EXPECT_EQ(back.rms_norm_eps, 1e-6f);
  ModelConfig plain = c;
  plain.raw_json.clear();
  EXPECT_EQ(parse_model_config(model_config_json(plain), "x").alpha_mlp, c.alpha_mlp);
}

TEST(ModelConfig, BadFilesAreRefusedInOneLineNamingFileAndKey) {
  auto with = [](const char* key, const Json& value) {
    Json j = m1();
    j[key] = value;
    return j.dump();
  };
  Json no_types = m1(), nameless = m1();
  no_types.erase("attn_type_list");
  nameless.erase("architectures");
  nameless.erase("model_type");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {no_types.dump(), "attn_type_list"},
      {nameless.dump(), "architectures"},
      {with("architectures", {"LlamaForCausalLM"}), "LlamaForCausalLM"},
      {with("attn_type_list", {0, 1}), "attn_type_list: got 2 entries, want 80"},
      {with("hidden_size", -1), "hidden_size: got -1"},
      {with("hidden_size", "6144"), "hidden_size"},
      {with("hidden_size", 6144.5), "hidden_size"},
      {with("vocab_size", 18446744073709551615ull), "vocab_size"},
      {with("num_experts_per_tok", 33), "num_experts_per_tok"},
      {with("num_key_value_heads", 7), "num_key_value_heads"},
      {with("rotary_dim", 63), "rotary_dim"},
      {with("rotary_dim", 256), "rotary_dim"},
      {with("hidden_act", "gelu"), "hidden_act"},
      {with("sliding_window", 4096), "sliding_window"},
      {with("rope_scaling", {{"type", "yarn"}}), "rope_scaling"},
      {with("quantization_config", Json::object()), "quantization_config"},
      {with("rope_theta", 0), "rope_theta"},
      {with("num_local_experts", 65536), "too large"},
      {with("postnorm", 1), "postnorm"},
      {"[]", "want a JSON object"},
      {"{\"a\":", "not JSON"},
      {"", "not JSON"},
  };
  for (const auto& [text, part] : cases) {
    const std::string message = error_of(text);
    EXPECT_EQ(message.rfind("f.json: ", 0), 0u) << message;
    EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace fulmen::model
