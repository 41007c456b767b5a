#include "learner/plan.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include "learner/trainer.h"
#include "shared/base/rng.h"

namespace fulmen::learner {
namespace {

model::ModelConfig config_with(int layers, int64_t width) {
  std::string types;
  for (int l = 0; l < layers; ++l) types += std::string(l == 0 ? "" : ",") + (l % 4 == 3 ? "1" : "0");
  return model::parse_model_config(
      R"({"architectures":["MiniMaxM1ForCausalLM"],"model_type":"minimax_m1","attn_type_list":[)" + types +
          R"(],"hidden_size":)" + std::to_string(width) + R"(,"intermediate_size":96,"num_hidden_layers":)" +
          std::to_string(layers) +
          R"(,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"rotary_dim":16,"num_local_experts":4,
      "num_experts_per_tok":2,"vocab_size":128,"postnorm":true,"rope_theta":10000,"initializer_range":0.05})",
      "test");
}

int64_t allocated() {
  const struct mallinfo2 m = mallinfo2();
  return static_cast<int64_t>(m.uordblks + m.hblkhd);
}

// The figure is about the learner's largest buffers: checked against what a forward and backward really allocate.
TEST(Plan, ActivationsAreWhatForwardAndBackwardHold) {
  if (allocated() == 0) GTEST_SKIP() << "this allocator does not count";
  for (const bool recompute : {false, true}) {
    const model::ModelConfig m = config_with(8, 64);
    kernels::ThreadPool pool{1};
    kernels::Context ctx = kernels::cpu_context(pool);
    model::Weights weights{m, kernels::DType::kF32};
    weights.init_random(1);
    weights.pack(ctx);
    constexpr int64_t kRows = 4000;
    Trainer trainer(weights, kernels::DType::kF32, recompute, kRows, ctx);
    const std::vector<int32_t> prompt(200, 3), target(200, 4);
    std::vector<Sequence> small{{std::span(prompt).first(2), std::span(target).first(2)}}, whole;
    for (int i = 0; i < 10; ++i) whole.push_back({prompt, target});
    const auto loss = [](size_t, std::span<const float>, std::span<const float>, std::span<float>, std::span<float>) {};
    trainer.accumulate(small, 1, false, loss);  // gradients, and whatever does not grow with the rows
    const int64_t before = allocated();
    std::vector<std::vector<float>> scores;
    trainer.accumulate(whole, 1, false, loss);
    trainer.score(whole, 1, scores);
    const double grown = static_cast<double>(allocated() - before);
    const double planned = 4.0 * static_cast<double>(activation_floats(m, kRows, recompute));
    EXPECT_NEAR(grown / planned, 1, 0.1) << "recompute " << recompute;
  }
}

TEST(Plan, EachKeyMovesItsFigure) {
  const model::ModelConfig m = config_with(8, 64);
  base::Config c;
  const Plan p = make_plan(c, m);
  const int64_t P = model::count_model(m).parameters;
  EXPECT_EQ(p.sync_bytes, 4 * P);
  EXPECT_EQ(p.checkpoint_bytes, 12 * P);
  EXPECT_EQ(p.disk_bytes, 3 * 12 * P + 4 * P);
  EXPECT_EQ(p.completions, 32 * 8);
  EXPECT_EQ(p.most_tokens, 32 * 8 * 256);
  EXPECT_EQ(p.learner.moments, 8 * P);
  EXPECT_EQ(p.learner.gradients, 2 * 4 * P);
  c.learner.shards = 1, c.model.recompute = true, c.sync.transport = "zmq", c.checkpoint.export_final = false;
  const Plan q = make_plan(c, m);
  EXPECT_EQ(q.learner.gradients, 4 * P);
  EXPECT_LT(q.learner.activations, p.learner.activations);
  EXPECT_EQ(q.shared_image, 0);
  EXPECT_EQ(q.disk_bytes, 3 * 12 * P);
  c.model.head_dtype = "bf16";
  EXPECT_EQ(make_plan(c, m).sync_bytes, 4 * P - int64_t{2} * m.vocab_size * m.hidden_size);
}

TEST(Plan, NamesTheNumberToLowerAndWithItTheRunFits) {
  const model::ModelConfig m = config_with(8, 64);
  const Machine machine{2, int64_t{2} << 30, int64_t{10} << 30};
  base::Config c;
  c.rollout.memory_mb = 100;
  EXPECT_TRUE(advice(c, m, machine).empty()) << advice(c, m, machine)[0];

  base::Config cache = c;
  cache.rollout.memory_mb = 3000, cache.rollout.max_sequences = 100000;
  ASSERT_EQ(advice(cache, m, machine).size(), 1u);
  int lower = 0;
  ASSERT_EQ(sscanf(advice(cache, m, machine)[0].c_str(),
                   "memory: %*s GB wanted, %*s GB available; lower "
                   "rollout.memory_mb from 3000 to %d",
                   &lower),
            1)
      << advice(cache, m, machine)[0];
  cache.rollout.memory_mb = lower;
  EXPECT_TRUE(advice(cache, m, machine).empty());

  base::Config rows = c;
  rows.optimizer.micro_batch_tokens = 1000000;
  ASSERT_EQ(advice(rows, m, machine).size(), 1u);
  ASSERT_EQ(sscanf(advice(rows, m, machine)[0].c_str(),
                   "memory: %*s GB wanted, %*s GB available; lower "
                   "optimizer.micro_batch_tokens from 1000000 to %d",
                   &lower),
            1)
      << advice(rows, m, machine)[0];
  rows.optimizer.micro_batch_tokens = lower;
  EXPECT_TRUE(advice(rows, m, machine).empty());

  base::Config device = c;  // learner and workers share the GPU, so all of them count
  device.rollout.memory_mb = 3000, device.rollout.max_sequences = 100000, device.rollout.workers = 2;
  const std::string line = device_advice(device, m, int64_t{4} << 30);
  ASSERT_EQ(
      sscanf(line.c_str(),
             "memory of the GPU: %*s GB wanted, %*s GB available; lower rollout.memory_mb from 3000 to %d", &lower),
      1)
      << line;
  device.rollout.memory_mb = lower;
  EXPECT_EQ(device_advice(device, m, int64_t{4} << 30), "");
  device.rollout.memory_mb = 3000, device.rollout.device = "cuda:1";
  EXPECT_EQ(device_advice(device, m, int64_t{4} << 30), "") << "the workers have another GPU";

  const Machine full{2, int64_t{2} << 30, 1 << 20};
  ASSERT_EQ(advice(c, m, full).size(), 1u);
  EXPECT_NE(advice(c, m, full)[0].find("run.dir"), std::string::npos);
}

}  // namespace
}  // namespace fulmen::learner
