#include "learner/rl_update.h"

#include <algorithm>
#include <chrono>

#include "kernels/lm_head.h"

namespace fulmen::learner {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Sequence sequence_of(const Episode& e) { return {e.prompt, e.completion}; }
int64_t rows_of(const Episode& e) { return static_cast<int64_t>(e.prompt.size() + e.completion.size()) - 1; }

void compare(const Episode& e, std::span<const float> learner, UpdateResult& r) {
  r.agreement.add(e.logprob, learner);
  const int64_t at = r.first.episode == nullptr ? first_difference(e.logprob, learner) : -1;
  if (at >= 0) r.first = {&e, at, e.logprob[static_cast<size_t>(at)], learner[static_cast<size_t>(at)]};
}

// Trained episodes of update u of U: whole groups, in order, as even as groups allow.
std::vector<std::vector<Episode*>> split_updates(std::span<Episode> episodes, int updates) {
  std::vector<std::vector<Episode*>> groups;
  uint64_t last = 0;
  for (Episode& e : episodes) {
    if (!e.trained) continue;
    if (groups.empty() || e.prompt_id != last) groups.emplace_back();
    groups.back().push_back(&e);
    last = e.prompt_id;
  }
  std::vector<std::vector<Episode*>> split;
  for (int u = 0; u < updates; ++u) {
    std::vector<Episode*> part;
    for (size_t g = groups.size() * static_cast<size_t>(u) / static_cast<size_t>(updates);
         g < groups.size() * static_cast<size_t>(u + 1) / static_cast<size_t>(updates); ++g)
      part.insert(part.end(), groups[g].begin(), groups[g].end());
    if (!part.empty()) split.push_back(std::move(part));
  }
  return split;
}

LossStats one_update(const base::Config& config, const std::vector<Episode*>& part, Trainer& trainer, bool compares,
                     UpdateResult& r, const std::function<void(int64_t)>& on_rows) {
  std::vector<Sequence> sequences;
  LossNormaliser n;
  for (const Episode* e : part) {
    sequences.push_back(sequence_of(*e));
    n.tokens += static_cast<int64_t>(e->completion.size());
    ++n.sequences;
  }
  const LossSettings settings{.kind = parse_loss(config.algorithm.loss),
                              .ratio_min = config.algorithm.ratio_min,
                              .ratio_max = config.algorithm.ratio_max,
                              .entropy_coef = config.algorithm.entropy_coef};
  const auto scores = trainer.accumulate(
      sequences, kernels::inverse_temperature(config.rollout.temperature), settings.entropy_coef != 0,
      [&](size_t i, std::span<const float> logprob, std::span<const float>, std::span<float> dlogprob,
          std::span<float> dentropy) {
        LossStats unused;
        policy_gradient(settings, n, logprob, part[i]->logprob, part[i]->advantage, dlogprob, unused);
        std::fill(dentropy.begin(), dentropy.end(),
                  static_cast<float>(-settings.entropy_coef / static_cast<double>(n.tokens)));
      },
      on_rows);
  // Figures are made from all sequences in their order, so they do not depend on the ranks either.
  LossStats stats;
  std::vector<float> unused;
  for (size_t i = 0; i < part.size(); ++i) {
    const TargetScores& s = scores[i];
    if (compares) compare(*part[i], s.logprob, r);
    unused.resize(s.logprob.size());
    policy_gradient(settings, n, s.logprob, part[i]->logprob, part[i]->advantage, unused, stats);
    for (const float e : s.entropy) stats.entropy += e;
  }
  stats.loss -= settings.entropy_coef * stats.entropy / static_cast<double>(n.tokens);
  r.trained_tokens += n.tokens;
  return stats;
}

}  // namespace

UpdateResult rl_update(const base::Config& config, std::span<Episode> episodes, Trainer& trainer,
                       const std::function<void(int64_t, int64_t)>& on_rows) {
  UpdateResult r;
  const auto parts = split_updates(episodes, config.algorithm.updates_per_step);
  const bool one = parts.size() == 1;
  int64_t rows = 0, done = 0;
  for (const Episode& e : episodes) rows += e.completion.empty() ? 0 : rows_of(e);
  if (!one)
    for (const auto& part : parts)
      for (const Episode* e : part) rows += rows_of(*e);
  const auto progress = [&](int64_t n) {
    done += n;
    if (on_rows) on_rows(done, rows);
  };

  double begin = now_s();
  std::vector<const Episode*> scored;
  std::vector<Sequence> sequences;
  for (const Episode& e : episodes)
    if (!e.completion.empty() && !(one && e.trained)) scored.push_back(&e), sequences.push_back(sequence_of(e));
  std::vector<std::vector<float>> logprob;
  trainer.score(sequences, kernels::inverse_temperature(config.rollout.temperature), logprob);
  for (size_t i = 0; i < scored.size(); ++i) compare(*scored[i], logprob[i], r), progress(rows_of(*scored[i]));
  r.score_s = now_s() - begin;

  begin = now_s();
  const int64_t total = static_cast<int64_t>(config.algorithm.steps) * config.algorithm.updates_per_step;
  for (const auto& part : parts) {
    const LossStats stats = one_update(config, part, trainer, one, r, progress);
    const float lr = scheduled_lr(config.optimizer.schedule, config.optimizer.lr, trainer.optimizer().step,
                                  config.optimizer.warmup_steps, total);
    r.grad_norm += trainer.optimizer_step({.lr = lr,
                                           .beta1 = config.optimizer.beta1,
                                           .beta2 = config.optimizer.beta2,
                                           .eps = config.optimizer.eps,
                                           .weight_decay = config.optimizer.weight_decay,
                                           .grad_clip = config.optimizer.grad_clip});
    r.lr = lr;
    if (r.updates++ == 0) {
      r.first_update = stats;
      r.entropy = stats.tokens > 0 ? stats.entropy / stats.tokens : 0;
    }
    r.all_updates.add(stats);
    r.loss += stats.loss;
  }
  if (r.updates > 0) r.loss /= static_cast<double>(r.updates), r.grad_norm /= static_cast<double>(r.updates);
  r.update_s = now_s() - begin;
  return r;
}

void report(const UpdateResult& r, const base::Config&, base::Metrics& m) {
  r.agreement.report(m);
  m["training/updates"] = static_cast<double>(r.updates);
  if (r.updates == 0) return;
  const LossStats& all = r.all_updates;
  m["actor/lr"] = r.lr;
  m["actor/pg_loss"] = r.loss;
  m["actor/grad_norm"] = r.grad_norm;
  m["actor/entropy"] = r.entropy;
  m["actor/ppo_kl"] = all.kl1 / all.tokens;
  m["actor/pg_clipfrac"] = all.clipped_high / all.tokens;
  m["actor/pg_clipfrac_lower"] = all.clipped_low / all.tokens;
  m["cispo/ratio_mean"] = all.ratio_sum / all.tokens;
  m["cispo/ratio_max"] = all.ratio_max;
  m["cispo/ratio_min"] = all.ratio_min;
  m["cispo/clipfrac_high"] = all.clipped_high / all.tokens;
  m["cispo/clipfrac_low"] = all.clipped_low / all.tokens;
  m["cispo/weight_mass_clipped"] = all.weight_mass > 0 ? all.weight_mass_clipped / all.weight_mass : 0;
  m["cispo/first_update_weight_mass_clipped"] =
      r.first_update.weight_mass > 0 ? r.first_update.weight_mass_clipped / r.first_update.weight_mass : 0;
  m["rollout_corr/k3_kl_all_updates"] = all.kl3 / all.tokens;
}

}  // namespace fulmen::learner
