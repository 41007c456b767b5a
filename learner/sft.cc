#include "learner/sft.h"

#include <algorithm>

#include "shared/base/rng.h"

namespace fulmen::learner {
namespace {

// Generated tasks: examples of the cold start lie in an index range of their own, so RL prompts are new to the model.
constexpr int64_t kSftRange = int64_t{1} << 32;

void reset(OptimizerState& o, kernels::Context& ctx) {
  for (auto* moments : {&o.m, &o.v})
    for (model::Buffer& b : *moments) kernels::fill_zero(b.data(), b.size() * sizeof(float), ctx);
  o.step = 0;
}

}  // namespace

void run_sft(const base::Config& config, const Dataset& data, const model::Tokenizer& tokenizer, Trainer& trainer,
             const std::function<void(const SftStep&)>& on_step) {
  reset(trainer.optimizer(), trainer.context());
  const int64_t per_step = config.sft.examples_per_step;
  for (int64_t step = 0; step < config.sft.steps; ++step) {
    std::vector<PromptRecord> records;
    std::vector<std::vector<int32_t>> targets;
    int64_t target_tokens = 0;
    for (int64_t i = 0; i < per_step; ++i) {
      const int64_t n = step * per_step + i;
      const int64_t index = data.size() > kSftRange ? kSftRange + n
                                                    : shuffled_index(static_cast<uint64_t>(config.run.seed), n,
                                                                     data.size(), config.data.shuffle);
      records.push_back(data.record(index));
      FULMEN_CHECK(!records.back().worked.empty(), "sft: record " + std::to_string(index) + " of " + data.describe() +
                                                       " has no completion to learn from");
      const bool unanswered = !records.back().unanswered.empty() &&
                              base::uniform(static_cast<uint64_t>(config.run.seed), base::Purpose::kShuffle,
                                            static_cast<uint64_t>(n), 1, 0) >= config.sft.answer_share;
      targets.push_back(tokenizer.encode(unanswered ? records.back().unanswered : records.back().worked));
      if (tokenizer.eos_id() >= 0) targets.back().push_back(tokenizer.eos_id());
      target_tokens += static_cast<int64_t>(targets.back().size());
    }
    std::vector<Sequence> sequences;
    for (size_t i = 0; i < records.size(); ++i) sequences.push_back({records[i].ids, targets[i]});

    SftStep s{.step = step};
    const float scale = 1.0f / static_cast<float>(target_tokens);
    const auto scores =
        trainer.accumulate(sequences, 1.0f, false,
                           [&](size_t, std::span<const float>, std::span<const float>, std::span<float> dlogprob,
                               std::span<float>) { std::fill(dlogprob.begin(), dlogprob.end(), -scale); });
    for (size_t i = 0; i < sequences.size(); ++i) {
      s.tokens += static_cast<int64_t>(sequences[i].prompt.size() + sequences[i].target.size()) - 1;
      for (const float l : scores[i].logprob) s.loss -= static_cast<double>(l) / static_cast<double>(target_tokens);
    }
    const float lr = scheduled_lr("cosine", config.sft.lr, step, config.sft.warmup_steps, config.sft.steps);
    s.grad_norm = trainer.optimizer_step({.lr = lr,
                                          .beta1 = config.optimizer.beta1,
                                          .beta2 = config.optimizer.beta2,
                                          .eps = config.optimizer.eps,
                                          .weight_decay = config.optimizer.weight_decay,
                                          .grad_clip = config.optimizer.grad_clip});
    if (on_step) on_step(s);
  }
  reset(trainer.optimizer(), trainer.context());
}

void run_cold_start(const base::Config& config, const model::Tokenizer& tokenizer, Trainer& trainer,
                    const std::function<void(const SftStep&)>& on_step) {
  base::Config c = config;
  if (!c.sft.data.empty()) c.data.task.clear(), c.data.mix.clear(), c.data.train = c.sft.data;
  run_sft(config, *make_dataset(c, Split::kTrain, tokenizer), tokenizer, trainer, on_step);
}

}  // namespace fulmen::learner
