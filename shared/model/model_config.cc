#include "shared/model/model_config.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/base/nested_json.h"
#include "shared/base/printable.h"

namespace fulmen::model {
namespace {

using Json = nlohmann::ordered_json;

const char* const kNativeArchitecture = "MiniMaxForCausalLM";

// Typed reads of one JSON object; every error names the file, the key, what was there and what is wanted.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& key, const std::string& got, const std::string& want) const {
    throw Error(where_ + ": " + key + ": got " + got + ", want " + want);
  }

  // The first of `keys` that is present and not null.
  const Json* find(std::initializer_list<const char*> keys) const {
    for (const char* key : keys) {
      auto it = object_.find(key);
      if (it != object_.end() && !it->is_null()) {
        found_ = key;
        return &*it;
      }
    }
    return nullptr;
  }

  int64_t integer(std::initializer_list<const char*> keys, int64_t fallback, int64_t low, int64_t high) const {
    const Json* v = find(keys);
    if (v == nullptr) return fallback;
    const bool fits = v->is_number_integer() && (!v->is_number_unsigned() || v->get<uint64_t>() <= INT64_MAX);
    const int64_t value = fits ? v->get<int64_t>() : 0;
    if (!fits || value < low || value > high)
      fail(found_, show(*v), "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    return value;
  }

  double number(std::initializer_list<const char*> keys, double fallback, bool positive) const {
    const Json* v = find(keys);
    if (v == nullptr) return fallback;
    const double value = v->is_number() ? v->get<double>() : std::nan("");
    const bool fits_float = std::abs(value) <= static_cast<double>(std::numeric_limits<float>::max());
    if (!fits_float || (positive && value <= 0)) fail(found_, show(*v), positive ? "a positive number" : "a number");
    return value;
  }

  bool boolean(const char* key, bool fallback) const {
    const Json* v = find({key});
    if (v == nullptr) return fallback;
    if (!v->is_boolean()) fail(key, show(*v), "true or false");
    return v->get<bool>();
  }

  std::string text(const char* key) const {
    const Json* v = find({key});
    if (v == nullptr) return "";
    if (!v->is_string()) fail(key, show(*v), "a string");
    return v->get<std::string>();
  }

  // A key that must be absent, null or one of the values this program computes.
  void only(const char* key, std::initializer_list<Json> allowed, const std::string& want) const {
    const Json* v = find({key});
    if (v == nullptr) return;
    for (const Json& a : allowed)
      if (*v == a) return;
    fail(key, show(*v), want);
  }

  int64_t token(const char* key, int64_t fallback) const {
    auto it = object_.find(key);
    if (it == object_.end()) return fallback;
    if (it->is_array()) {
      const bool one = it->size() == 1 && (*it)[0].is_number_unsigned() && (*it)[0].get<uint64_t>() <= INT32_MAX;
      if (!one) fail(key, show(*it), "one token id or null");
      return (*it)[0].get<int64_t>();
    }
    return integer({key}, -1, -1, INT32_MAX);
  }

  static std::string show(const Json& v) {
    std::string s = v.dump(-1, ' ', false, Json::error_handler_t::replace);
    return s.size() > 60 ? s.substr(0, 60) + "..." : s;
  }

  const std::string& found() const { return found_; }
  const std::string& where() const { return where_; }

 private:
  const Json& object_;
  std::string where_;
  mutable std::string found_;
};

std::string architecture_of(const Reader& in) {
  static const std::map<std::string, std::string> by_type = {{"minimax_m1", "MiniMaxM1ForCausalLM"},
                                                             {"MiniMaxM1", "MiniMaxM1ForCausalLM"},
                                                             {"minimax_text_01", "MiniMaxText01ForCausalLM"},
                                                             {"MiniMaxText01", "MiniMaxText01ForCausalLM"},
                                                             {"minimax", kNativeArchitecture}};
  const char* const want = "MiniMaxM1ForCausalLM, MiniMaxText01ForCausalLM or MiniMaxForCausalLM";
  if (const Json* v = in.find({"architectures"})) {
    if (!v->is_array() || v->size() != 1 || !(*v)[0].is_string()) in.fail("architectures", Reader::show(*v), want);
    const auto name = (*v)[0].get<std::string>();
    for (const auto& [type, known] : by_type)
      if (name == known) return name;
    in.fail("architectures", "\"" + base::printable(name) + "\"", want);
  }
  const std::string type = in.text("model_type");
  if (type.empty()) in.fail("architectures", "nothing (nor model_type)", want);
  auto it = by_type.find(type);
  if (it == by_type.end())
    in.fail("model_type", "\"" + base::printable(type) + "\"", "minimax_m1, minimax_text_01 or minimax");
  return it->second;
}

// 1 for "softmax", by key: attn_type_list and decoder_attention_types are 0/1, layer_types are words.
std::vector<int> attention_types(const Reader& in, int layers, bool native) {
  std::vector<int> types;
  const Json* v = in.find({"attn_type_list", "decoder_attention_types", "layer_types"});
  if (v == nullptr) {
    if (!native) in.fail("attn_type_list", "nothing", "a list of 0 (lightning) or 1 (softmax), one per layer");
    for (int l = 0; l < layers; ++l) types.push_back(l % 2 == 0 ? 1 : 0);  // the native class's default
    return types;
  }
  const std::string key = in.found();
  if (!v->is_array()) in.fail(key, Reader::show(*v), "a list with one entry per layer");
  for (const Json& t : *v) {
    const bool softmax = t == 1 || t == "full_attention";
    if (!softmax && t != 0 && t != "linear_attention")
      in.fail(key + "[" + std::to_string(types.size()) + "]", Reader::show(t),
              "0 or linear_attention, 1 or full_attention");
    types.push_back(softmax ? 1 : 0);
  }
  if (static_cast<int>(types.size()) != layers)
    in.fail(key, std::to_string(types.size()) + " entries", std::to_string(layers) + " (num_hidden_layers)");
  return types;
}

double rope_theta(const Reader& in) {
  if (const Json* rope = in.find({"rope_parameters"})) {
    if (!rope->is_object()) in.fail("rope_parameters", Reader::show(*rope), "an object");
    Reader nested(*rope, in.where() + ": rope_parameters");
    nested.only("rope_type", {"default"}, "default");
    return nested.number({"rope_theta"}, in.number({"rope_theta"}, 1e6, true), true);
  }
  return in.number({"rope_theta"}, 1e6, true);
}

void read_sizes(const Reader& in, ModelConfig& c) {
  constexpr int64_t kWidth = int64_t{1} << 24, kCount = int64_t{1} << 16;
  auto size = [&](std::initializer_list<const char*> keys, int64_t fallback, int64_t high) {
    return in.integer(keys, fallback, 1, high);
  };
  c.vocab_size = size({"vocab_size"}, 32000, INT32_MAX);
  c.hidden_size = size({"hidden_size"}, 4096, kWidth);
  c.intermediate_size = size({"intermediate_size"}, 14336, kWidth);
  c.num_layers = static_cast<int>(size({"num_hidden_layers"}, 32, kCount));
  c.num_heads = static_cast<int>(size({"num_attention_heads"}, 32, kCount));
  c.num_kv_heads = static_cast<int>(size({"num_key_value_heads"}, 8, kCount));
  const bool has_head_dim = in.find({"head_dim"}) != nullptr;
  if (!has_head_dim && c.hidden_size % c.num_heads != 0)
    in.fail("head_dim", "nothing", "a value, because hidden_size is not a multiple of num_attention_heads");
  c.head_dim = static_cast<int>(size({"head_dim"}, c.hidden_size / c.num_heads, kCount));
  c.rotary_dim = static_cast<int>(in.integer({"rotary_dim"}, c.head_dim, 0, c.head_dim));
  c.num_experts = static_cast<int>(size({"num_local_experts", "num_experts"}, 8, kCount));
  c.top_k = static_cast<int>(size({"num_experts_per_tok"}, 2, kCount));
  c.shared_intermediate_size = in.integer({"shared_intermediate_size"}, 0, 0, kWidth);
  c.max_position_embeddings = in.integer({"max_position_embeddings"}, 131072, 1, INT64_MAX);
  if (c.num_heads % c.num_kv_heads != 0)
    in.fail("num_key_value_heads", std::to_string(c.num_kv_heads),
            "a divisor of num_attention_heads = " + std::to_string(c.num_heads));
  if (c.rotary_dim % 2 != 0) in.fail("rotary_dim", std::to_string(c.rotary_dim), "an even number");
  if (c.top_k > c.num_experts)
    in.fail("num_experts_per_tok", std::to_string(c.top_k),
            "at most num_local_experts = " + std::to_string(c.num_experts));
}

void read_residuals(const Reader& in, ModelConfig& c, bool native) {
  auto factor = [&](const char* key, const char* native_key) {
    return static_cast<float>(in.number({key, native_key}, 1.0, false));
  };
  c.alpha_softmax = factor("layernorm_full_attention_alpha", "full_attn_alpha_factor");
  c.beta_softmax = factor("layernorm_full_attention_beta", "full_attn_beta_factor");
  c.alpha_lightning = factor("layernorm_linear_attention_alpha", "linear_attn_alpha_factor");
  c.beta_lightning = factor("layernorm_linear_attention_beta", "linear_attn_beta_factor");
  c.alpha_mlp = factor("layernorm_mlp_alpha", "mlp_alpha_factor");
  c.beta_mlp = factor("layernorm_mlp_beta", "mlp_beta_factor");
  c.postnorm = native || in.boolean("postnorm", false);
  c.rms_norm_eps = static_cast<float>(in.number({"rms_norm_eps"}, 1e-5, true));
  c.lightning_norm_eps = static_cast<float>(in.number({"lightning_norm_eps"}, 1e-6, true));
}

// What the file may ask for and this program does not compute is refused by name.
void refuse_unsupported(const Reader& in, const ModelConfig& c) {
  in.only("hidden_act", {"silu", "swish"}, "silu");
  in.only("sliding_window", {}, "null (no sliding window is computed)");
  in.only("rope_scaling", {}, "null (no scaled rotary embedding is computed)");
  in.only("attention_bias", {false}, "false (no biases)");
  in.only("attention_dropout", {0}, "0");
  in.only("router_jitter_noise", {0}, "0");
  in.only("quantization_config", {}, "nothing: quantised checkpoints are not read");
  if (c.shared_intermediate_size > 0 && in.text("shared_moe_mode") != "sigmoid")
    in.fail("shared_moe_mode", "\"" + base::printable(in.text("shared_moe_mode")) + "\"",
            "sigmoid, because shared_intermediate_size > 0");
}

bool same_model(const ModelConfig& a, const ModelConfig& b) {
  auto key = [](const ModelConfig& c) {
    return std::tie(c.vocab_size, c.hidden_size, c.intermediate_size, c.num_layers, c.num_heads, c.num_kv_heads,
                    c.head_dim, c.rotary_dim, c.num_experts, c.top_k, c.attn_type, c.rope_theta, c.rms_norm_eps,
                    c.lightning_norm_eps, c.postnorm, c.alpha_softmax, c.beta_softmax, c.alpha_lightning,
                    c.beta_lightning, c.alpha_mlp, c.beta_mlp, c.shared_intermediate_size, c.bos_token_id,
                    c.eos_token_id, c.max_position_embeddings, c.initializer_range, c.tie_word_embeddings);
  };
  return key(a) == key(b);
}

// A float as the shortest decimal that reads back as the same float: 1e-05, not 9.99999974e-06.
double short_decimal(float value) {
  for (int digits = 1; digits < 9; ++digits) {
    char text[32];
    std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
    if (std::strtof(text, nullptr) == value) return std::strtod(text, nullptr);
  }
  return static_cast<double>(value);
}

// Native names become the original ones; whoever reads the export must not find both.
void drop_native_keys(Json& j) {
  const std::pair<const char*, const char*> renamed[] = {
      {"full_attn_alpha_factor", "layernorm_full_attention_alpha"},
      {"full_attn_beta_factor", "layernorm_full_attention_beta"},
      {"linear_attn_alpha_factor", "layernorm_linear_attention_alpha"},
      {"linear_attn_beta_factor", "layernorm_linear_attention_beta"},
      {"mlp_alpha_factor", "layernorm_mlp_alpha"},
      {"mlp_beta_factor", "layernorm_mlp_beta"}};
  for (const auto& [from, to] : renamed) {
    if (j.contains(from) && !j.contains(to)) j[to] = j[from];
    j.erase(from);
  }
  for (const char* key : {"layer_types", "decoder_attention_types", "block_size", "rope_parameters", "num_experts"})
    j.erase(key);
}

}  // namespace

ModelConfig parse_model_config(const std::string& json, const std::string& where) {
  const Json object = base::parse_json<Json>(json, where);
  FULMEN_CHECK(object.is_object(), where + ": got " + object.type_name() + ", want a JSON object");
  const Reader in(object, where);
  ModelConfig c;
  c.architecture = architecture_of(in);
  const bool native = c.architecture == kNativeArchitecture;
  read_sizes(in, c);
  c.attn_type = attention_types(in, c.num_layers, native);
  c.rope_theta = rope_theta(in);
  read_residuals(in, c, native);
  refuse_unsupported(in, c);
  c.bos_token_id = in.token("bos_token_id", native ? 1 : -1);
  c.eos_token_id = in.token("eos_token_id", native ? 2 : -1);
  c.initializer_range = in.number({"initializer_range"}, 0.02, false);
  c.tie_word_embeddings = in.boolean("tie_word_embeddings", false);
  c.raw_json = json;
  try {
    count_model(c);
  } catch (const Error& e) {
    throw Error(where + ": " + e.what());
  }
  return c;
}

std::string weights_directory(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path) || fs::exists(path + "/config.json")) return path;
  for (const char* inside : {"/model", "/export"})
    if (fs::exists(path + inside + "/config.json")) return path + inside;
  FULMEN_CHECK(
      !fs::exists(path + "/checkpoints"),
      path + ": a run that has not exported yet: want one of its checkpoints, " + path + "/checkpoints/step_N");
  return path;
}

ModelConfig load_model_config(const std::string& path) {
  const bool directory = std::filesystem::is_directory(path);
  const std::string file = directory ? weights_directory(path) + "/config.json" : path;
  return parse_model_config(base::read_file(file), file);
}

std::string model_config_json(const ModelConfig& c) {
  Json j = Json::object();
  const bool native = c.architecture == kNativeArchitecture;
  if (!c.raw_json.empty()) {
    if (!native && same_model(parse_model_config(c.raw_json, "raw_json"), c)) return c.raw_json;
    j = Json::parse(c.raw_json);
    drop_native_keys(j);
  }
  const bool text01 = c.architecture == "MiniMaxText01ForCausalLM";
  auto id = [](int64_t v) { return v < 0 ? Json(nullptr) : Json(v); };
  // A float goes in as the file had it (its double may be longer) unless the value changed.
  auto put = [&](const char* key, float v) {
    auto it = j.find(key);
    if (it == j.end() || !it->is_number() || it->get<float>() != v) j[key] = short_decimal(v);
  };
  j["architectures"] = {native ? "MiniMaxM1ForCausalLM" : c.architecture};
  j["attn_type_list"] = c.attn_type;
  j["bos_token_id"] = id(c.bos_token_id);
  j["eos_token_id"] = id(c.eos_token_id);
  j["head_dim"] = c.head_dim;
  j["hidden_act"] = "silu";
  j["hidden_size"] = c.hidden_size;
  j["initializer_range"] = c.initializer_range;
  j["intermediate_size"] = c.intermediate_size;
  put("layernorm_full_attention_alpha", c.alpha_softmax);
  put("layernorm_full_attention_beta", c.beta_softmax);
  put("layernorm_linear_attention_alpha", c.alpha_lightning);
  put("layernorm_linear_attention_beta", c.beta_lightning);
  put("layernorm_mlp_alpha", c.alpha_mlp);
  put("layernorm_mlp_beta", c.beta_mlp);
  if (c.lightning_norm_eps != 1e-6f || j.contains("lightning_norm_eps"))
    put("lightning_norm_eps", c.lightning_norm_eps);
  j["max_position_embeddings"] = c.max_position_embeddings;
  if (native || !j.contains("model_type")) j["model_type"] = text01 ? "minimax_text_01" : "minimax_m1";
  j["num_attention_heads"] = c.num_heads;
  j["num_experts_per_tok"] = c.top_k;
  j["num_hidden_layers"] = c.num_layers;
  j["num_key_value_heads"] = c.num_kv_heads;
  j["num_local_experts"] = c.num_experts;
  j["postnorm"] = c.postnorm;
  put("rms_norm_eps", c.rms_norm_eps);
  j["rope_theta"] = c.rope_theta;
  j["rotary_dim"] = c.rotary_dim;
  j["shared_intermediate_size"] = c.shared_intermediate_size;
  j["shared_moe_mode"] = "sigmoid";
  j["tie_word_embeddings"] = c.tie_word_embeddings;
  j["vocab_size"] = c.vocab_size;
  return j.dump(2) + "\n";
}

}  // namespace fulmen::model
