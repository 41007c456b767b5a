#include "learner/train_run.h"

#include <chrono>
#include <filesystem>

#include "kernels/table.h"
#include "learner/divergence.h"
#include "learner/evaluation.h"
#include "learner/parts.h"
#include "learner/ranks.h"
#include "learner/run_checkpoint.h"
#include "learner/run_report.h"
#include "learner/score_health.h"
#include "learner/sft.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/base/metrics.h"
#include "shared/base/progress.h"
#include "shared/launch/stop_signal.h"
#include "shared/model/checkpoint.h"

namespace fulmen::learner {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// State of one `fulmen train`; each method is one phase.
class TrainRun {
 public:
  TrainRun(const base::Config& config, Start start)
      : config_(config), start_time_(now_s()), lock_(config.run.dir), parts_(config) {
    done_.step = -1;  // the cold start is not a step
    prepare_run_directory(config, start);
    launch::catch_stop_signals();
    base::open_log("learner-0", config.run.dir + "/logs/learner-0.log");
    config_path_ = config.run.dir + "/config.resolved.yaml";
    base::write_file_atomic(config_path_, base::to_yaml(config, false));
    train_data_ = make_dataset(config, Split::kTrain, *parts_.tokenizer);
    if (base::has_held_out_data(config)) eval_data_ = make_dataset(config, Split::kEval, *parts_.tokenizer);
    state_.config = base::config_values(config);
    ranks_ = std::make_unique<Ranks>(config, config_path_, parts_.numerics, *parts_.trainer, parts_.ctx);
    if (start == Start::kResume) resume();
    const model::ModelCounts counts = model::count_model(parts_.weights->config());
    summary_.parameters = counts.parameters;
    base::info("model {}: {} parameters, {} layers; {}; {}, {}{} threads", config.model.path,
               base::format_count(static_cast<double>(counts.parameters)), parts_.weights->config().num_layers,
               train_data_->describe(), parts_.device.note(),
               config.learner.ranks > 1 ? fmt::format("{} ranks of ", config.learner.ranks) : "", parts_.pool.size());
  }

  bool resumed() const { return resumed_; }

  // until: the RL step to stop after. closes: then evaluate, export and print the table.
  void run(int64_t until, bool closes) {
    if (closes) {
      for (const std::string& key : changed_) base::warn("changed since the checkpoint: {}", key);
      if (resumed_ && state_.step >= until)
        base::info("step {} of {} was reached before; algorithm.steps=N would go on", state_.step, until);
    }
    conductor_ = std::make_unique<Conductor>(config_, config_path_, run_id_of(config_.run.dir), parts_.numerics,
                                             *parts_.tokenizer, parts_.ctx);
    try {
      conductor_->start();
      metrics_ = std::make_unique<base::MetricsWriter>(config_.run.dir, state_.step, config_.log.tensorboard);
      check_golden();
      if (!resumed_)
        cold_start();
      else
        publish();
      rl_steps(until, closes);
      if (closes) finish();
    } catch (const std::exception& e) {
      // A mistake in the configuration that a worker finds before the cold start leaves nothing to keep.
      if (state_.weights_version > 0 || dynamic_cast<const base::ConfigError*>(&e) == nullptr) keep_last_step();
      throw;
    }
  }

 private:
  void resume() {
    const std::string dir = newest_run_checkpoint(config_.run.dir);
    if (dir.empty()) {
      base::info("{} holds no checkpoint yet: starting from the beginning", config_.run.dir);
      return;
    }
    const auto config = state_.config;
    ranks_->begin_load(std::filesystem::absolute(dir));
    state_ = load_run_checkpoint(dir, *parts_.trainer);
    parts_.weights->pack(parts_.ctx);
    parts_.trainer->check_ranks_agree();
    ranks_->end();
    changed_ = base::config_differences(state_.config, config);
    state_.config = config;
    saved_step_ = state_.step;
    resumed_ = true;
    base::info("resumed from {}", dir);
  }

  // What the trainer is asked for, with all ranks. When it fails because a rank is gone, that is the error to show.
  template <class F>
  void on_all_ranks(F&& work) {
    try {
      conductor_->rest();
      parts_.begin_phase();
      work();
      parts_.trainer->check_ranks_agree();
      parts_.end_phase();
      ranks_->end();
    } catch (const launch::Stopped&) {
      throw;
    } catch (const std::exception&) {
      ranks_->blame();
      throw;
    }
  }

  void publish() {
    const double begin = now_s();
    conductor_->publish(*parts_.weights, state_.weights_version);
    state_.times.sync += now_s() - begin;
  }

  double measure(const std::string& title, const std::string& file) {
    if (eval_data_ == nullptr || config_.eval.problems == 0) return -1;
    EvalResult r = evaluate(config_, *conductor_, *eval_data_, title);
    state_.times.eval += r.seconds;
    summary_.eval_problems = r.problems;
    write_episodes(config_.run.dir + "/episodes/" + file, state_.step, r.episodes, r.records, *parts_.tokenizer,
                   config_.log.episodes_per_step);
    metrics_->write(state_.step, accuracy_by_source(r));
    return r.accuracy;
  }

  void cold_start() {
    state_.weights_version = 1;
    publish();
    state_.accuracy_before = measure("evaluate, at start", "eval_start.jsonl");
    if (config_.sft.steps > 0) {
      const double begin = now_s();
      base::Progress progress("cold start (SFT)", config_.sft.steps);
      double loss = 0;
      on_all_ranks([&] {
        ranks_->begin_cold_start();
        run_cold_start(config_, *parts_.tokenizer, *parts_.trainer, [&](const SftStep& s) {
          loss = s.loss;
          progress.update(s.step + 1, fmt::format("loss {:.3f}", s.loss));
          launch::throw_if_stopped();
        });
      });
      progress.finish(fmt::format("loss {:.3f}", loss));
      state_.times.sft = now_s() - begin;
      ++state_.weights_version;
      publish();
      state_.accuracy_after_sft = measure("evaluate, after cold start", "eval_sft.jsonl");
    }
    save();
  }

  void save() {
    state_.seconds += now_s() - start_time_ - counted_s_;
    counted_s_ = now_s() - start_time_;
    tried_step_ = state_.step;
    save_run_checkpoint(config_.run.dir, state_, *parts_.trainer, config_.checkpoint.keep);
    saved_step_ = state_.step;
  }

  // The run ends before its end. Between two updates of a step the weights belong to no step: then the last
  // checkpoint counts.
  void keep_last_step() {
    if (done_.step > tried_step_ && parts_.trainer->optimizer().step == done_updates_) {
      state_ = done_;
      try {
        save();
      } catch (const std::exception& e) {
        base::warn("step {} could not be kept: {}", done_.step, e.what());
      }
    }
    if (saved_step_ >= 0)
      base::info("{} is kept after step {}: add --resume to go on from there", config_.run.dir, saved_step_);
    else
      base::info("{} holds no checkpoint yet (the first comes after the cold start): --resume begins again",
                 config_.run.dir);
  }

  void rl_steps(int64_t until, bool evaluates) {
    const int64_t steps = config_.algorithm.steps, first = state_.step;
    const double begin = now_s();
    done_ = state_, done_updates_ = parts_.trainer->optimizer().step;
    while (state_.step < until) {
      launch::throw_if_stopped();
      base::Metrics m;
      const double step_begin = now_s();
      one_step(m);
      m["timing_s/step"] = now_s() - step_begin;
      m["perf/time_per_step"] = m["timing_s/step"];
      m["perf/throughput"] = m["perf/total_num_tokens"] / m["timing_s/step"];
      const double eta =
          (now_s() - begin) / static_cast<double>(state_.step - first) * static_cast<double>(until - state_.step);
      metrics_->write(state_.step, m);
      base::info("{}", step_line(state_.step, steps, m, eta));
      done_ = state_, done_updates_ = parts_.trainer->optimizer().step;
      if (config_.reward.golden_every > 0 && state_.step % config_.reward.golden_every == 0) check_golden();
      if (evaluates && config_.eval.every > 0 && state_.step % config_.eval.every == 0 && state_.step < steps)
        measure("evaluate, step " + std::to_string(state_.step), fmt::format("eval_step_{}.jsonl", state_.step));
      if ((config_.checkpoint.every > 0 && state_.step % config_.checkpoint.every == 0) || state_.step == until) save();
    }
  }

  // The groups of the next step, generated and scored.
  std::vector<Episode> generate(std::vector<PromptRecord>& records, StepCounts& counts) {
    const int P = config_.algorithm.prompts_per_step;
    std::vector<GroupJob> jobs;
    for (int i = 0; i < P; ++i) {
      const int64_t n = state_.step * P + i;
      const int64_t index =
          shuffled_index(static_cast<uint64_t>(config_.run.seed), n, train_data_->size(), config_.data.shuffle);
      records.push_back(train_data_->record(index));
      jobs.push_back(
          {static_cast<uint64_t>(n), static_cast<size_t>(i), records.back(), config_.algorithm.samples_per_prompt});
    }
    base::Progress progress(fmt::format("step {} generate", state_.step + 1),
                            static_cast<int64_t>(P) * config_.algorithm.samples_per_prompt, base::Progress::kNoEnd);
    return conductor_->run(jobs,
                           {.temperature = config_.rollout.temperature,
                            .max_new_tokens = config_.rollout.max_new_tokens,
                            .seed = static_cast<uint64_t>(config_.run.seed)},
                           counts, [&](int64_t done, int64_t, int64_t tokens, int64_t) {
                             progress.update(done, base::format_count(static_cast<double>(tokens)) + " tokens");
                             ranks_->check();
                           });
  }

  UpdateResult update_weights(std::span<Episode> episodes) {
    UpdateResult update;
    base::Progress progress(fmt::format("step {} update", state_.step + 1), 1, base::Progress::kNoEnd);
    on_all_ranks([&] {
      ranks_->begin_update(episodes);
      update = rl_update(config_, episodes, *parts_.trainer, [&](int64_t done, int64_t) {
        progress.update(0, base::format_count(static_cast<double>(done)) + " rows");
      });
    });
    return update;
  }

  void one_step(base::Metrics& m) {
    std::vector<PromptRecord> records;
    StepCounts counts;
    std::vector<Episode> episodes = generate(records, counts);
    raise_alarm(health_.add_step(episodes, m));
    const AdvantageCounts advantages =
        assign_advantages(episodes, {.by_std = config_.algorithm.advantage_std,
                                     .drop_zero_variance = config_.algorithm.drop_zero_variance,
                                     .mask_truncated = config_.algorithm.mask_truncated,
                                     .unparsable_is_zero = config_.reward.unparsable == "zero"});
    const UpdateResult update = update_weights(episodes);
    explain_disagreement(update);
    ++state_.step;
    write_episodes(fmt::format("{}/episodes/step_{}.jsonl", config_.run.dir, state_.step), state_.step, episodes,
                   records, *parts_.tokenizer, config_.log.episodes_per_step);
    const double sync_begin = now_s();
    if (update.updates > 0) {
      ++state_.weights_version;
      publish();
    }
    m["timing_s/update_weights"] = now_s() - sync_begin;
    m["sync/weights_version"] = static_cast<double>(state_.weights_version);
    report_step(state_.step, episodes, advantages, counts, update, config_, m);
    int64_t tokens = 0;
    for (const Episode& e : episodes) tokens += static_cast<int64_t>(e.completion.size());
    count(update, counts, m, tokens);
  }

  void check_golden() {
    if (config_.reward.golden.empty()) return;
    const std::string wrong = conductor_->check_golden(state_.step);
    if (wrong.empty()) return;
    // Before the cold start there is nothing a checkpoint could hold.
    FULMEN_CHECK(state_.weights_version > 0 || config_.reward.on_alarm == "warn",
                 "rewards: reward.golden: " + wrong + ". Not started: these verdicts are known to be wrong");
    raise_alarm("reward.golden: " + wrong);
  }

  // What reward.on_alarm says. A pause ends when somebody creates RUN/continue, and for good after a day.
  void raise_alarm(const std::string& what) {
    if (what.empty()) return;
    const std::string& action = config_.reward.on_alarm;
    base::error("rewards: {}", what);
    if (action == "warn") return;
    save();
    const std::string& dir = config_.run.dir;
    FULMEN_CHECK(action == "pause", "rewards: " + what +
                                        ". Stopped by reward.on_alarm=stop with a checkpoint; when it is "
                                        "repaired: fulmen train " +
                                        config_path_ + " --resume");
    base::error(
        "paused at step {} with a checkpoint written. To go on as it is: touch {}/continue. To repair it first: "
        "end this run, then fulmen train {} --resume",
        state_.step, dir, config_path_);
    constexpr double kPauseS = 24 * 3600;
    const double begin = now_s();
    while (!std::filesystem::exists(dir + "/continue")) {
      conductor_->pump(200);
      ranks_->check();
      launch::throw_if_stopped();
      FULMEN_CHECK(now_s() - begin < kPauseS, "rewards: " + what + ". Paused for a day and nobody went on");
    }
    std::filesystem::remove(dir + "/continue");
    base::info("going on");
  }

  void explain_disagreement(const UpdateResult& update) {
    if (update.first.episode == nullptr) return;
    const Episode& e = *update.first.episode;
    // Weights have been updated by now; the paths of this process are compared with the weights as they are.
    const Divergence d =
        find_divergence(*parts_.weights, *parts_.weights, parts_.cache_dtype, {e.prompt, e.completion}, parts_.ctx);
    base::error(
        "{} of {} tokens differ in their log-prob bits; first: prompt {} sample {} token {} (behaviour {:.9g}, learner "
        "{:.9g}); {}",
        update.agreement.bits_differing(), update.agreement.tokens(), e.prompt_id, e.sample_index, update.first.token,
        update.first.behaviour, update.first.learner, describe(d, parts_.weights->config()));
  }

  void count(const UpdateResult& update, const StepCounts& counts, const base::Metrics& m, int64_t tokens) {
    state_.episodes += counts.issued;
    state_.tokens_generated += tokens;
    state_.tokens_compared += update.agreement.tokens();
    state_.bits_differing += update.agreement.bits_differing();
    state_.times.generate += counts.generate_s, state_.times.reward += counts.score_wait_s;
    state_.times.update += update.score_s + update.update_s;
    const auto reward = m.find("critic/rewards/mean");
    const double mean = reward == m.end() ? 0 : reward->second;
    if (state_.step == 1) state_.reward_first = mean;
    state_.reward_last = mean;
  }

  void finish() {
    summary_.accuracy_after = measure("evaluate, at the end", "eval_end.jsonl");
    conductor_->stop();
    if (config_.checkpoint.export_final) {
      summary_.export_dir = config_.run.dir + "/export";
      const bool bf16 = config_.model.weights_dtype == "bf16";
      model::save_checkpoint(summary_.export_dir, *parts_.weights,
                             bf16 ? model::FileDType::kBf16 : model::FileDType::kF32, config_.model.tokenizer);
    }
    summary_.run_dir = config_.run.dir;
    summary_.example_prompt = config_.data.task == "arithmetic" ? train_data_->record(0).prompt : "TEXT";
    state_.seconds += now_s() - start_time_ - counted_s_;
    print_summary(summary_, state_);
  }

  base::Config config_;
  double start_time_, counted_s_ = 0;
  RunLock lock_;
  LearnerParts parts_;
  std::string config_path_;
  std::unique_ptr<Dataset> train_data_, eval_data_;
  std::unique_ptr<Ranks> ranks_;
  std::unique_ptr<Conductor> conductor_;
  std::unique_ptr<base::MetricsWriter> metrics_;
  ScoreHealth health_{config_.reward};
  RunState state_, done_;  // done_: after the last whole step, with done_updates_ updates
  int64_t done_updates_ = 0, saved_step_ = -1, tried_step_ = -1;
  Summary summary_;
  bool resumed_ = false;
  std::vector<std::string> changed_;  // keys, since the checkpoint that was resumed
};

}  // namespace

void run_training(const base::Config& config, Start start) {
  TrainRun(config, start).run(config.algorithm.steps, true);
}

void run_until(const base::Config& config, int64_t step) {
  TrainRun run(config, Start::kResume);
  FULMEN_CHECK(run.resumed(), config.run.dir + " holds no checkpoint that verifies");
  run.run(step, false);
}

void run_sft_only(const base::Config& config, Start start) { TrainRun(config, start).run(0, true); }

}  // namespace fulmen::learner
