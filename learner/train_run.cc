#include "learner/train_run.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>

#include "kernels/table.h"
#include "learner/advantage.h"
#include "learner/divergence.h"
#include "learner/run_report.h"
#include "learner/sft.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/base/metrics.h"
#include "shared/base/progress.h"
#include "shared/model/checkpoint.h"

namespace fulmen::learner {
namespace {

namespace fs = std::filesystem;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Evaluation prompts have Philox keys of their own.
constexpr uint64_t kEvalPromptIds = uint64_t{1} << 40;

bool holds_run(const std::string& dir) {
  return fs::exists(dir + "/metrics.jsonl") || fs::exists(dir + "/checkpoints");
}

void prepare_directory(const base::Config& config, Start start) {
  const std::string& dir = config.run.dir;
  FULMEN_CHECK(start != Start::kNew || !holds_run(dir),
               dir + " already holds a run: add --resume to go on, --fresh to start over, or run.dir=ANOTHER");
  if (start == Start::kFresh)
    for (const char* part :
         {"/metrics.jsonl", "/checkpoints", "/episodes", "/export", "/logs", "/tensorboard", "/report.html"})
      base::remove_all(dir + part);
  for (const char* part : {"", "/logs", "/episodes", "/checkpoints"}) base::make_directories(dir + part);
}

std::string run_id_of(
    const std::string& run_dir) {  // same directory, same id: a killed run's leftovers are found again
  const std::string path = fs::absolute(run_dir);
  return base::hex(base::digest128(path.data(), path.size())).substr(0, 12);
}

void mean_max_min(base::Metrics& m, const std::string& name, const std::vector<double>& v) {
  if (v.empty()) return;
  double sum = 0;
  for (const double x : v) sum += x;
  m[name + "/mean"] = sum / static_cast<double>(v.size());
  m[name + "/max"] = *std::max_element(v.begin(), v.end());
  m[name + "/min"] = *std::min_element(v.begin(), v.end());
}

}  // namespace

RunLock::RunLock(const std::string& run_dir) {
  base::make_directories(run_dir);
  const std::string path = run_dir + "/lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  FULMEN_CHECK(fd_ >= 0, "cannot open " + path + ": " + std::strerror(errno));
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    char pid[32] = {};
    if (read(fd_, pid, sizeof pid - 1) < 0) pid[0] = 0;
    close(fd_);
    throw Error(run_dir + " is in use by another run (pid " + pid + "): wait for it or give run.dir=ANOTHER");
  }
  const std::string pid = std::to_string(getpid());
  FULMEN_CHECK(ftruncate(fd_, 0) == 0 && write(fd_, pid.data(), pid.size()) == static_cast<ssize_t>(pid.size()),
               "cannot write " + path + ": " + std::strerror(errno));
}

RunLock::~RunLock() { close(fd_); }

LearnerParts::LearnerParts(const base::Config& c)
    : config(c),
      tokenizer(model::load_tokenizer(c.model.tokenizer)),
      pool(c.run.threads > 0 ? c.run.threads : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))),
      ctx(kernels::cpu_context(pool)),
      cache_dtype(c.model.cache_dtype == "bf16" ? kernels::DType::kBf16 : kernels::DType::kF32) {
  FULMEN_CHECK(c.learner.ranks == 1, "learner.ranks: got " + std::to_string(c.learner.ranks) +
                                         ", but this version trains on one rank; use 1");
  FULMEN_CHECK(c.run.device != "cuda", "run.device: got cuda, but this build has no GPU backend; use cpu or auto");
  const auto dtype = c.model.weights_dtype == "bf16" ? kernels::DType::kBf16 : kernels::DType::kF32;
  const model::ModelConfig mc = model::load_model_config(c.model.path);
  FULMEN_CHECK(tokenizer->vocab_size() <= mc.vocab_size,
               "model.tokenizer " + c.model.tokenizer + " has " + std::to_string(tokenizer->vocab_size()) +
                   " tokens, want <= vocab_size " + std::to_string(mc.vocab_size) + " of " + c.model.path);
  weights = std::make_unique<model::Weights>(mc, dtype);
  const bool has_weights =
      fs::is_directory(c.model.path) &&
      (fs::exists(c.model.path + "/model.safetensors.index.json") || fs::exists(c.model.path + "/model.safetensors"));
  if (has_weights)
    model::load_checkpoint(c.model.path, *weights);
  else
    weights->init_random(static_cast<uint64_t>(c.run.seed));
  weights->pack(ctx);
  trainer = std::make_unique<Trainer>(*weights, cache_dtype, c.model.recompute, c.optimizer.micro_batch_tokens, ctx);
  numerics = model::numerics_digest(ctx, mc, cache_dtype, dtype);
}

EvalResult evaluate(const base::Config& config, Conductor& conductor, const Dataset& data, const std::string& title) {
  EvalResult r;
  const double begin = now_s();
  const int64_t n = std::min<int64_t>(config.eval.problems, data.size());
  std::vector<GroupJob> jobs;
  for (int64_t i = 0; i < n; ++i) {
    r.records.push_back(data.record(i));
    jobs.push_back({kEvalPromptIds + static_cast<uint64_t>(i), static_cast<size_t>(i), r.records.back(), 1});
  }
  base::Progress progress(title, n);
  StepCounts counts;
  r.episodes = conductor.run(jobs,
                             {.temperature = 0,
                              .max_new_tokens = config.rollout.max_new_tokens,
                              .seed = static_cast<uint64_t>(config.run.seed)},
                             counts, [&](int64_t done, int64_t, int64_t, int64_t) { progress.update(done); });
  for (const Episode& e : r.episodes) {
    r.tokens += static_cast<int64_t>(e.completion.size());
    if (e.outcome == Outcome::kScored)
      r.accuracy += e.score >= 0.5;
    else
      ++(e.outcome == Outcome::kUnparsable ? r.unparsable : r.failed);
  }
  r.problems = n;
  r.accuracy /= static_cast<double>(std::max<int64_t>(1, n));
  r.seconds = now_s() - begin;
  progress.finish(fmt::format("accuracy {:.3f} ({} problems, {} without an answer)", r.accuracy, n, r.unparsable));
  return r;
}

namespace {

// State of one `fulmen train`; each method is one phase.
class TrainRun {
 public:
  TrainRun(const base::Config& config, Start start)
      : config_(config), start_time_(now_s()), lock_(config.run.dir), parts_(config) {
    prepare_directory(config, start);
    base::open_log("learner-0", config.run.dir + "/logs/learner-0.log");
    config_path_ = config.run.dir + "/config.resolved.yaml";
    base::write_file_atomic(config_path_, base::to_yaml(config, false));
    train_data_ = make_dataset(config, Split::kTrain, *parts_.tokenizer);
    if (!config.data.task.empty() || !config.data.eval.empty())
      eval_data_ = make_dataset(config, Split::kEval, *parts_.tokenizer);
    state_.config_hash = base::config_hash(config);
    if (start == Start::kResume) resume();
    const model::ModelCounts counts = model::count_model(parts_.weights->config());
    summary_.parameters = counts.parameters;
    base::info("model {}: {} parameters, {} layers; {}; {} kernels, {} threads", config.model.path,
               base::format_count(static_cast<double>(counts.parameters)), parts_.weights->config().num_layers,
               train_data_->describe(), parts_.ctx.table->name, parts_.pool.size());
  }

  void run(bool with_rl) {
    conductor_ = std::make_unique<Conductor>(config_, config_path_, run_id_of(config_.run.dir), parts_.numerics,
                                             *parts_.tokenizer);
    conductor_->start();
    metrics_ = std::make_unique<base::MetricsWriter>(config_.run.dir, state_.step, config_.log.tensorboard);
    if (!resumed_)
      cold_start();
    else
      publish();
    if (with_rl) rl_steps();
    finish();
  }

 private:
  void resume() {
    const std::string dir = newest_run_checkpoint(config_.run.dir);
    if (dir.empty()) {
      base::info("{} holds no checkpoint yet: starting from the beginning", config_.run.dir);
      return;
    }
    const std::string hash = state_.config_hash;
    state_ = load_run_checkpoint(dir, *parts_.trainer);
    parts_.weights->pack(parts_.ctx);
    if (state_.config_hash != hash) base::warn("the config differs from the one of {}", dir);
    state_.config_hash = hash;
    resumed_ = true;
    base::info("resumed from {}", dir);
  }

  void publish() {
    const double begin = now_s();
    conductor_->publish(*parts_.weights, state_.weights_version);
    times_.sync += now_s() - begin;
  }

  double measure(const std::string& title, const std::string& file) {
    if (eval_data_ == nullptr || config_.eval.problems == 0) return -1;
    EvalResult r = evaluate(config_, *conductor_, *eval_data_, title);
    times_.eval += r.seconds;
    summary_.eval_problems = r.problems;
    write_episodes(config_.run.dir + "/episodes/" + file, state_.step, r.episodes, r.records, *parts_.tokenizer,
                   config_.log.episodes_per_step);
    metrics_->write(state_.step, {{"val-core/" + r.records[0].data_source + "/acc/mean@1", r.accuracy}});
    return r.accuracy;
  }

  void cold_start() {
    state_.weights_version = 1;
    publish();
    state_.accuracy_before = measure("evaluate, at start", "eval_start.jsonl");
    if (config_.sft.steps > 0) {
      const double begin = now_s();
      std::unique_ptr<Dataset> file;
      if (!config_.sft.data.empty()) {
        base::Config c = config_;
        c.data.task.clear(), c.data.train = config_.sft.data;
        file = make_dataset(c, Split::kTrain, *parts_.tokenizer);
      }
      base::Progress progress("cold start (SFT)", config_.sft.steps);
      double loss = 0;
      run_sft(config_, file ? *file : *train_data_, *parts_.tokenizer, *parts_.trainer, [&](const SftStep& s) {
        loss = s.loss;
        progress.update(s.step + 1, fmt::format("loss {:.3f}", s.loss));
      });
      progress.finish(fmt::format("loss {:.3f}", loss));
      times_.sft = now_s() - begin;
      ++state_.weights_version;
      publish();
      state_.accuracy_after_sft = measure("evaluate, after cold start", "eval_sft.jsonl");
    }
    save();
  }

  void save() {
    state_.seconds += now_s() - start_time_ - counted_s_;
    counted_s_ = now_s() - start_time_;
    save_run_checkpoint(config_.run.dir, state_, *parts_.trainer, config_.checkpoint.keep);
  }

  void rl_steps() {
    const int64_t steps = config_.algorithm.steps, first = state_.step;
    const double begin = now_s();
    while (state_.step < steps) {
      base::Metrics m;
      const double step_begin = now_s();
      one_step(m);
      m["timing_s/step"] = now_s() - step_begin;
      m["perf/time_per_step"] = m["timing_s/step"];
      m["perf/throughput"] = m["perf/total_num_tokens"] / m["timing_s/step"];
      const double eta =
          (now_s() - begin) / static_cast<double>(state_.step - first) * static_cast<double>(steps - state_.step);
      metrics_->write(state_.step, m);
      base::info("{}", step_line(state_.step, steps, m, eta));
      if (config_.eval.every > 0 && state_.step % config_.eval.every == 0 && state_.step < steps)
        measure("evaluate, step " + std::to_string(state_.step), fmt::format("eval_step_{}.jsonl", state_.step));
      if ((config_.checkpoint.every > 0 && state_.step % config_.checkpoint.every == 0) || state_.step == steps) save();
    }
  }

  void one_step(base::Metrics& m) {
    const int P = config_.algorithm.prompts_per_step;
    std::vector<PromptRecord> records;
    std::vector<GroupJob> jobs;
    for (int i = 0; i < P; ++i) {
      const int64_t n = state_.step * P + i;
      const int64_t index =
          shuffled_index(static_cast<uint64_t>(config_.run.seed), n, train_data_->size(), config_.data.shuffle);
      records.push_back(train_data_->record(index));
      jobs.push_back(
          {static_cast<uint64_t>(n), static_cast<size_t>(i), records.back(), config_.algorithm.samples_per_prompt});
    }
    const std::string title = fmt::format("step {}", state_.step + 1);
    StepCounts counts;
    std::vector<Episode> episodes;
    {
      base::Progress progress(title + " generate", static_cast<int64_t>(P) * config_.algorithm.samples_per_prompt);
      episodes = conductor_->run(jobs,
                                 {.temperature = config_.rollout.temperature,
                                  .max_new_tokens = config_.rollout.max_new_tokens,
                                  .seed = static_cast<uint64_t>(config_.run.seed)},
                                 counts, [&](int64_t done, int64_t, int64_t tokens, int64_t) {
                                   progress.update(done, base::format_count(static_cast<double>(tokens)) + " tokens");
                                 });
    }
    const AdvantageCounts advantages =
        assign_advantages(episodes, {.by_std = config_.algorithm.advantage_std,
                                     .drop_zero_variance = config_.algorithm.drop_zero_variance,
                                     .mask_truncated = config_.algorithm.mask_truncated,
                                     .unparsable_is_zero = config_.reward.unparsable == "zero"});
    UpdateResult update;
    {
      base::Progress progress(title + " update", 1);
      update = rl_update(config_, episodes, *parts_.trainer, [&](int64_t done, int64_t) {
        progress.update(0, base::format_count(static_cast<double>(done)) + " rows");
      });
    }
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
    collect(episodes, advantages, counts, update, m);
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

  void collect(const std::vector<Episode>& episodes, const AdvantageCounts& advantages, const StepCounts& counts,
               const UpdateResult& update, base::Metrics& m) {
    std::vector<double> score, length, prompt_length, advantage;
    int64_t truncated = 0, dropped = 0, tokens = 0, rows = 0;
    for (const Episode& e : episodes) {
      if (e.outcome == Outcome::kScored) score.push_back(e.score);
      length.push_back(static_cast<double>(e.completion.size()));
      prompt_length.push_back(static_cast<double>(e.prompt.size()));
      if (e.trained) advantage.push_back(e.advantage);
      truncated += e.truncated;
      tokens += static_cast<int64_t>(e.completion.size());
      rows += static_cast<int64_t>(e.prompt.size() + e.completion.size());
    }
    mean_max_min(m, "critic/rewards", score);
    mean_max_min(m, "critic/score", score);
    mean_max_min(m, "critic/advantages", advantage);
    mean_max_min(m, "response_length", length);
    mean_max_min(m, "prompt_length", prompt_length);
    m["response_length/clip_ratio"] = static_cast<double>(truncated) / static_cast<double>(episodes.size());
    m["training/global_step"] = static_cast<double>(state_.step);
    m["actor/lr"] = config_.optimizer.lr;
    m["training/issued"] = static_cast<double>(counts.issued);
    m["training/trained"] = static_cast<double>(advantages.trained);
    for (const auto& [reason, n] : advantages.dropped)
      m["training/dropped/" + reason] = static_cast<double>(n), dropped += n;
    m["training/zero_variance_groups"] = static_cast<double>(advantages.zero_variance_groups);
    m["training/reissued"] = static_cast<double>(counts.reissued);
    m["training/workers_lost"] = static_cast<double>(counts.workers_lost);
    FULMEN_CHECK(counts.issued == advantages.trained + dropped,
                 fmt::format("step {}: {} episodes issued, but {} trained + {} dropped", state_.step, counts.issued,
                             advantages.trained, dropped));
    m["timing_s/gen"] = counts.generate_s;
    m["timing_s/reward"] = counts.score_wait_s;
    m["timing_s/old_log_prob"] = update.score_s;
    m["timing_s/update_actor"] = update.update_s;
    m["perf/total_num_tokens"] = static_cast<double>(rows);
    m["perf/generate_tokens_per_s"] = counts.generate_s > 0 ? static_cast<double>(tokens) / counts.generate_s : 0;
    m["sync/weights_version"] = static_cast<double>(state_.weights_version);
    report(update, config_, m);

    state_.episodes += counts.issued;
    state_.tokens_generated += tokens;
    state_.tokens_compared += update.agreement.tokens();
    state_.bits_differing += update.agreement.bits_differing();
    times_.generate += counts.generate_s, times_.reward += counts.score_wait_s;
    times_.update += update.score_s + update.update_s;
    if (summary_.steps++ == 0) summary_.reward_first = m["critic/rewards/mean"];
    summary_.reward_last = m["critic/rewards/mean"];
  }

  void finish() {
    summary_.accuracy_after = measure("evaluate, at the end", "eval_end.jsonl");
    conductor_->stop();
    if (config_.checkpoint.export_final) {
      summary_.export_dir = config_.run.dir + "/export";
      const bool bf16 = config_.model.weights_dtype == "bf16";
      const std::string tokenizer_dir = config_.model.tokenizer == "byte" ? "" : config_.model.tokenizer;
      model::save_checkpoint(summary_.export_dir, *parts_.weights,
                             bf16 ? model::FileDType::kBf16 : model::FileDType::kF32, tokenizer_dir);
    }
    summary_.run_dir = config_.run.dir;
    summary_.example_prompt = config_.data.task.empty() ? "TEXT" : train_data_->record(0).prompt;
    summary_.accuracy_before = state_.accuracy_before;
    summary_.accuracy_after_sft = state_.accuracy_after_sft;
    summary_.episodes = state_.episodes, summary_.tokens_generated = state_.tokens_generated;
    summary_.tokens_compared = state_.tokens_compared, summary_.bits_differing = state_.bits_differing;
    summary_.seconds = state_.seconds + (now_s() - start_time_ - counted_s_);
    summary_.times = times_;
    print_summary(summary_);
  }

  base::Config config_;
  double start_time_, counted_s_ = 0;
  RunLock lock_;
  LearnerParts parts_;
  std::string config_path_;
  std::unique_ptr<Dataset> train_data_, eval_data_;
  std::unique_ptr<Conductor> conductor_;
  std::unique_ptr<base::MetricsWriter> metrics_;
  RunState state_;
  PhaseTimes times_;
  Summary summary_;
  bool resumed_ = false;
};

}  // namespace

void run_training(const base::Config& config, Start start) { TrainRun(config, start).run(true); }

void run_sft_only(const base::Config& config, Start start) { TrainRun(config, start).run(false); }

void run_evaluation(const base::Config& config) {
  const RunLock lock(config.run.dir);
  LearnerParts parts(config);
  base::make_directories(config.run.dir + "/logs");
  base::make_directories(config.run.dir + "/episodes");
  const std::string path = config.run.dir + "/config.resolved.yaml";
  base::write_file_atomic(path, base::to_yaml(config, false));
  const auto data = make_dataset(config, Split::kEval, *parts.tokenizer);
  Conductor conductor(config, path, run_id_of(config.run.dir), parts.numerics, *parts.tokenizer);
  conductor.start();
  conductor.publish(*parts.weights, 1);
  const EvalResult r = evaluate(config, conductor, *data, "evaluate");
  conductor.stop();
  write_episodes(config.run.dir + "/episodes/eval.jsonl", 0, r.episodes, r.records, *parts.tokenizer, -1);
  fmt::print("accuracy {:.4f} on {} problems of {} ({} without a readable answer, {} failed), {:.0f} tokens/s; {}\n",
             r.accuracy, r.problems, data->describe(), r.unparsable, r.failed,
             static_cast<double>(r.tokens) / r.seconds, config.run.dir + "/episodes/eval.jsonl");
}

}  // namespace fulmen::learner
