// The model and ten AdamW steps against tests/golden/make_transformer_golden.py: float64 PyTorch with automatic
// differentiation.

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "kernels/optimizer.h"
#include "shared/base/file.h"
#include "tests/shared/transformer_fixture.h"

namespace fulmen::model {
namespace {

struct Golden {
  std::string bytes;
  nlohmann::json header;

  Golden() : bytes(base::read_file(FULMEN_SOURCE_DIR "/tests/golden/transformer.safetensors")) {
    header = nlohmann::json::parse(bytes.substr(8, header_size()));
  }
  uint64_t header_size() const {
    uint64_t n;
    std::memcpy(&n, bytes.data(), 8);
    return n;
  }
  template <class T>
  std::vector<T> get(const std::string& name) const {
    const auto range = header.at(name).at("data_offsets").get<std::vector<size_t>>();
    std::vector<T> values((range[1] - range[0]) / sizeof(T));
    std::memcpy(values.data(), bytes.data() + 8 + header_size() + range[0], range[1] - range[0]);
    return values;
  }
  nlohmann::json metadata(const char* key) const {
    return nlohmann::json::parse(header.at("__metadata__").at(key).get<std::string>());
  }
};

ModelConfig config_of(const nlohmann::json& j) {
  ModelConfig c;
  j.at("vocab_size").get_to(c.vocab_size);
  j.at("hidden_size").get_to(c.hidden_size);
  j.at("intermediate_size").get_to(c.intermediate_size);
  j.at("num_layers").get_to(c.num_layers);
  j.at("num_heads").get_to(c.num_heads);
  j.at("num_kv_heads").get_to(c.num_kv_heads);
  j.at("head_dim").get_to(c.head_dim);
  j.at("rotary_dim").get_to(c.rotary_dim);
  j.at("num_experts").get_to(c.num_experts);
  j.at("top_k").get_to(c.top_k);
  j.at("shared_intermediate_size").get_to(c.shared_intermediate_size);
  j.at("attn_type").get_to(c.attn_type);
  j.at("rope_theta").get_to(c.rope_theta);
  j.at("rms_norm_eps").get_to(c.rms_norm_eps);
  j.at("lightning_norm_eps").get_to(c.lightning_norm_eps);
  j.at("alpha_softmax").get_to(c.alpha_softmax);
  j.at("beta_softmax").get_to(c.beta_softmax);
  j.at("alpha_lightning").get_to(c.alpha_lightning);
  j.at("beta_lightning").get_to(c.beta_lightning);
  j.at("alpha_mlp").get_to(c.alpha_mlp);
  j.at("beta_mlp").get_to(c.beta_mlp);
  return c;
}

class TransformerGolden : public testing::Test {
 protected:
  Golden golden_;
  SmallModel m_{config_of(golden_.metadata("config"))};
  Packed batch_;

  void SetUp() override {
    for (size_t i = 0; i < m_.weights.num_tensors(); ++i) {
      const auto values = golden_.get<float>("weights." + m_.weights.specs()[i].name);
      ASSERT_EQ(values.size(), m_.weights.tensor(i).size());
      std::copy(values.begin(), values.end(), m_.weights.tensor(i).begin());
    }
    m_.weights.pack(m_.ctx);
    const auto tokens = golden_.get<int32_t>("tokens");
    Sequences all;
    for (auto at = tokens.begin(); int32_t n : golden_.get<int32_t>("lengths")) {
      all.emplace_back(at, at + n);
      at += n;
    }
    batch_ = pack(all);
    batch_.weight.assign(batch_.weight.size(), -1.0f / static_cast<float>(batch_.rows()));  // mean cross entropy
  }

  // |a - b| within `relative` of the largest value: an element that almost cancels is as exact as its neighbours.
  static void expect_close(std::span<const float> got, const std::vector<float>& want, double relative,
                           const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    double scale = 0, worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      scale = std::max(scale, std::fabs(static_cast<double>(want[i])));
      worst = std::max(worst, std::fabs(static_cast<double>(got[i]) - want[i]));
    }
    EXPECT_LE(worst, relative * scale) << what << ", largest value " << scale;
  }
};

TEST_F(TransformerGolden, LogitsAgree) {
  const std::vector<float> hidden = forward_hidden(m_, batch_);
  const int64_t V = m_.config().vocab_size, C = m_.config().hidden_size;
  std::vector<float> logits(static_cast<size_t>(batch_.rows() * V));
  Transformer(m_.weights, DType::kF32, m_.ctx)
      .logits(mat(hidden.data(), batch_.rows(), C), mat(logits.data(), batch_.rows(), V));
  expect_close(logits, golden_.get<float>("logits"), 1e-5, "logits");
}

TEST_F(TransformerGolden, GradientsOfAllTensorsAgree) {
  Gradients g(m_.weights.specs());
  Tape tape(m_.config(), false);
  const double loss = add_gradients(m_, batch_, tape, g);
  EXPECT_NEAR(loss, golden_.get<double>("losses")[0], 2e-6);
  for (size_t i = 0; i < g.size(); ++i) {
    const std::string& name = m_.weights.specs()[i].name;
    expect_close(g.tensor(i), golden_.get<float>("gradients." + name), 3e-5, name);
  }
}

TEST_F(TransformerGolden, TenAdamWStepsLoseTheSame) {
  const auto want = golden_.get<double>("losses");
  const auto adamw = golden_.metadata("adamw");
  Gradients g(m_.weights.specs()), m1(m_.weights.specs()), m2(m_.weights.specs());
  Tape tape(m_.config(), true);
  for (size_t step = 0; step < want.size(); ++step) {
    EXPECT_NEAR(add_gradients(m_, batch_, tape, g), want[step], 1e-5) << "step " << step;
    std::vector<kernels::AdamW> updates;
    for (size_t i = 0; i < g.size(); ++i) {
      const auto flat = [](std::span<float> s) { return vec(s.data(), static_cast<int64_t>(s.size())); };
      kernels::AdamW u{flat(m_.weights.tensor(i)), flat(g.tensor(i)), flat(m1.tensor(i)), flat(m2.tensor(i))};
      adamw.at("lr").get_to(u.lr);
      adamw.at("betas").at(0).get_to(u.beta1);
      adamw.at("betas").at(1).get_to(u.beta2);
      adamw.at("eps").get_to(u.eps);
      adamw.at("weight_decay").get_to(u.weight_decay);
      u.step = static_cast<int64_t>(step) + 1;
      updates.push_back(u);
    }
    kernels::adamw_step(updates, m_.ctx);
    m_.weights.pack(m_.ctx);
  }
}

}  // namespace
}  // namespace fulmen::model
