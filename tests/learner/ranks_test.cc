// The trainer over ranks, each a process of its own: the same weights, bit for bit, for any number of them.

#include "learner/ranks.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "learner/rl_update.h"
#include "shared/base/file.h"
#include "shared/base/rng.h"

namespace fulmen::learner {
namespace {

model::ModelConfig tiny_config() {
  return model::parse_model_config(R"({"architectures":["MiniMaxM1ForCausalLM"],"model_type":"minimax_m1",
    "attn_type_list":[0,1],"hidden_size":32,"intermediate_size":32,"num_hidden_layers":2,"num_attention_heads":2,
    "num_key_value_heads":1,"head_dim":16,"rotary_dim":8,"num_local_experts":4,"num_experts_per_tok":2,"vocab_size":61,
    "postnorm":true,"rope_theta":10000,"layernorm_mlp_alpha":2.0,"initializer_range":0.15})",
                                   "test");
}

// Episodes of 1.5 shards' worth of rows a rank; behaviour log-probs a little off, so that ratios and clips vary.
std::vector<Episode> make_episodes() {
  base::Stream rng(3, base::Purpose::kTest);
  std::vector<Episode> episodes;
  for (uint64_t p = 0; p < 24; ++p)
    for (uint32_t s = 0; s < 4; ++s) {
      Episode& e = episodes.emplace_back();
      e.prompt_id = p, e.sample_index = s;
      for (int64_t k = rng.next_int(3, 12); k > 0; --k) e.prompt.push_back(static_cast<int32_t>(rng.next_int(0, 60)));
      for (int64_t k = rng.next_int(5, 90); k > 0; --k) {
        e.completion.push_back(static_cast<int32_t>(rng.next_int(0, 60)));
        e.logprob.push_back(-4.1f + 0.3f * rng.next_normal());
      }
      e.advantage = static_cast<double>(rng.next_normal());
      e.trained = p % 5 != 4;  // others are only compared
    }
  return episodes;
}

struct Outcome {
  std::string weights, metrics;
  bool operator==(const Outcome&) const = default;
};

Outcome train(collective::Collective* ranks, int shards, int updates) {
  kernels::ThreadPool pool{1};
  kernels::Context ctx = kernels::cpu_context(pool);
  model::Weights weights{tiny_config(), kernels::DType::kF32};
  weights.init_random(5);
  weights.pack(ctx);
  Trainer trainer(weights, kernels::DType::kF32, false, 256, ctx, shards);
  if (ranks != nullptr) trainer.join(*ranks);
  base::Config config;
  config.algorithm.updates_per_step = updates;
  config.algorithm.entropy_coef = 0.01f;
  config.optimizer.lr = 1e-3f;
  base::Metrics m;
  for (int step = 0; step < 2; ++step) {
    std::vector<Episode> episodes = make_episodes();
    report(rl_update(config, episodes, trainer), config, m);
    trainer.check_ranks_agree();
  }
  Outcome o{base::hex(weights.root_digest()), ""};
  for (const auto& [name, value] : m) o.metrics += name + "=" + std::to_string(value) + "\n";
  return o;
}

// The outcome of each rank.
std::vector<Outcome> train_on_ranks(int size, int shards, int updates) {
  const std::string dir = ::testing::TempDir() + "/fulmen_ranks_test." + std::to_string(getpid());
  std::filesystem::remove_all(dir);
  std::vector<pid_t> pids;
  for (int r = 0; r < size; ++r) {
    const pid_t pid = fork();
    if (pid == 0) {
      int code = 1;
      try {
        const auto ranks = collective::make_gloo(
            {.rank = r, .size = size, .directory = dir, .epoch = "e", .timeout_ms = 60000, .while_waiting = {}});
        const Outcome o = train(ranks.get(), shards, updates);
        std::ofstream(dir + "/out." + std::to_string(r)) << o.weights << "\n" << o.metrics;
        code = 0;
      } catch (const std::exception& e) {
        fprintf(stderr, "rank %d: %s\n", r, e.what());
      }
      _exit(code);
    }
    pids.push_back(pid);
  }
  std::vector<Outcome> outcomes;
  for (int r = 0; r < size; ++r) {
    int status = 0;
    waitpid(pids[static_cast<size_t>(r)], &status, 0);
    EXPECT_EQ(status, 0) << "rank " << r;
    std::ifstream in(dir + "/out." + std::to_string(r));
    Outcome o;
    std::getline(in, o.weights);
    o.metrics.assign(std::istreambuf_iterator<char>(in), {});
    outcomes.push_back(o);
  }
  std::filesystem::remove_all(dir);
  return outcomes;
}

TEST(Ranks, AnyNumberOfThemTrainsToTheSameBitsAndFigures) {
  for (const int updates : {1, 3}) {
    const Outcome alone = train(nullptr, 4, updates);
    EXPECT_FALSE(alone.weights.empty());
    for (const int size : {2, 3, 4})
      for (const Outcome& o : train_on_ranks(size, 4, updates)) {
        EXPECT_EQ(o.weights, alone.weights) << size << " ranks, " << updates << " updates";
        EXPECT_EQ(o.metrics, alone.metrics) << size << " ranks, " << updates << " updates";
      }
  }
}

TEST(Ranks, ShardsAreWhatFixesTheLastBits) {  // or the test above would compare one sum with itself
  EXPECT_NE(train(nullptr, 4, 1).weights, train(nullptr, 1, 1).weights);
}

TEST(Ranks, ARankThatDriftedIsNamed) {
  const std::string dir = ::testing::TempDir() + "/fulmen_ranks_drift." + std::to_string(getpid());
  std::filesystem::remove_all(dir);
  const auto check = [&](int rank) {
    const auto ranks = collective::make_gloo(
        {.rank = rank, .size = 2, .directory = dir, .epoch = "e", .timeout_ms = 60000, .while_waiting = {}});
    kernels::ThreadPool pool{1};
    kernels::Context ctx = kernels::cpu_context(pool);
    model::Weights weights{tiny_config(), kernels::DType::kF32};
    weights.init_random(5);
    if (rank == 1) weights.tensor(0)[0] += 1e-7f;
    weights.pack(ctx);
    Trainer trainer(weights, kernels::DType::kF32, false, 256, ctx);
    trainer.join(*ranks);
    try {
      trainer.check_ranks_agree();
    } catch (const Error& e) {
      return std::string(e.what()).find("learner rank 1 of 2 holds other weights") != std::string::npos;
    }
    return false;
  };
  const pid_t pid = fork();
  if (pid == 0) _exit(check(1) ? 0 : 1);
  EXPECT_TRUE(check(0));
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace fulmen::learner
