#include "learner/ranks.h"

#include <unistd.h>

#include <chrono>
#include <thread>

#include "learner/parts.h"
#include "learner/rl_update.h"
#include "learner/run_checkpoint.h"
#include "learner/sft.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/wire/fulmen.pb.h"

namespace fulmen::learner {
namespace {

std::string directory_of(const base::Config& config) { return config.run.dir + "/ranks"; }

// All ranks must compute alike before they add their results.
void check_same_start(collective::Collective& ranks, const std::string& numerics, Trainer& trainer) {
  const auto all = ranks.allgather(numerics);
  for (size_t r = 1; r < all.size(); ++r)
    FULMEN_CHECK(all[r] == all[0], "learner rank " + std::to_string(r) + ": numerics digest " + all[r] +
                                       ", want rank 0's " + all[0] + " (same build and device on all ranks)");
  trainer.join(ranks);
  trainer.check_ranks_agree();
}

std::unique_ptr<collective::Collective> make_group(const base::Config& config, kernels::Context& ctx,
                                                   const collective::GroupOptions& options) {
  if (config.learner.collective == "gloo") return collective::make_gloo(options);
  return collective::make_nccl(options, {.ctx = &ctx});
}

std::vector<Episode> decode_update(const wire::RankUpdate& update) {
  std::vector<Episode> episodes;
  for (const wire::TrainEpisode& in : update.episodes()) {
    Episode& e = episodes.emplace_back();
    e.prompt_id = in.prompt_id();
    e.sample_index = in.sample_index();
    e.prompt.assign(in.prompt().begin(), in.prompt().end());
    e.completion.assign(in.completion().begin(), in.completion().end());
    e.logprob.assign(in.logprob().begin(), in.logprob().end());
    e.advantage = in.advantage();
    e.trained = in.trained();
  }
  return episodes;
}

}  // namespace

std::string encode_update(std::span<const Episode> episodes) {
  wire::RankWork work;
  for (const Episode& e : episodes) {
    wire::TrainEpisode& out = *work.mutable_update()->add_episodes();
    out.set_prompt_id(e.prompt_id);
    out.set_sample_index(e.sample_index);
    out.mutable_prompt()->Add(e.prompt.begin(), e.prompt.end());
    out.mutable_completion()->Add(e.completion.begin(), e.completion.end());
    out.mutable_logprob()->Add(e.logprob.begin(), e.logprob.end());
    out.set_advantage(e.advantage);
    out.set_trained(e.trained);
  }
  return work.SerializeAsString();
}

Ranks::Ranks(const base::Config& config, const std::string& config_path, const std::string& numerics, Trainer& trainer,
             kernels::Context& ctx) {
  const int size = config.learner.ranks;
  if (size == 1) return;
  base::remove_all(directory_of(config));  // of earlier starts of this run
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::string epoch = std::to_string(getpid()) + "-" +
                            std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  for (int r = 1; r < size; ++r) {
    logs_.push_back(config.run.dir + "/logs/learner-" + std::to_string(r) + ".log");
    processes_.push_back(std::make_unique<launch::LocalProcess>(
        std::vector<std::string>{launch::directory_of_this_program() + "/fulmen-learner", "learner", "--rank",
                                 std::to_string(r), "--epoch", epoch, config_path},
        logs_.back()));
  }
  collective_ = make_group(config, ctx,
                           {.rank = 0,
                            .size = size,
                            .directory = directory_of(config),
                            .epoch = epoch,
                            .timeout_ms = config.learner.timeout_s * 1000,
                            .while_waiting = [this] { check(); }});
  check_same_start(*collective_, numerics, trainer);
}

Ranks::~Ranks() {
  if (collective_ == nullptr || working_) return;
  try {
    check();
    wire::RankWork work;
    work.mutable_stop();
    send(work.SerializeAsString());
  } catch (const std::exception& e) {
    base::debug("learner ranks could not be told to stop: {}", e.what());
    return;
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  for (const auto& p : processes_)
    while (p->running() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

void Ranks::end() { working_ = false; }

void Ranks::send(const std::string& work) {
  std::string bytes = work;
  working_ = true;
  collective_->broadcast(bytes, 0);
}

void Ranks::begin_cold_start() {
  if (collective_ == nullptr) return;
  wire::RankWork work;
  work.mutable_cold_start();
  send(work.SerializeAsString());
}

void Ranks::begin_update(std::span<const Episode> episodes) {
  if (collective_ != nullptr) send(encode_update(episodes));
}

void Ranks::begin_load(const std::string& checkpoint) {
  if (collective_ == nullptr) return;
  wire::RankWork work;
  work.mutable_load()->set_checkpoint(checkpoint);
  send(work.SerializeAsString());
}

void Ranks::check() {
  for (size_t i = 0; i < processes_.size(); ++i)
    FULMEN_CHECK(processes_[i]->running(),
                 "learner rank " + std::to_string(i + 1) + " of " + std::to_string(processes_.size() + 1) + " ended (" +
                     processes_[i]->exit_text() + "), log " + logs_[i] + "\n" + launch::last_lines(logs_[i], 3));
}

void Ranks::blame() {
  for (int tries = 0; tries < 50 && !processes_.empty(); ++tries) {
    check();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

void run_rank(const base::Config& config, const RankOptions& options) {
  LearnerParts parts(config, options.rank);
  const auto ranks = make_group(config, parts.ctx,
                                {.rank = options.rank,
                                 .size = config.learner.ranks,
                                 .directory = directory_of(config),
                                 .epoch = options.epoch,
                                 .host = options.host,
                                 .timeout_ms = config.learner.timeout_s * 1000,
                                 .while_waiting = {}});
  check_same_start(*ranks, parts.numerics, *parts.trainer);
  base::info("rank {} of {} is ready", options.rank, config.learner.ranks);
  for (;;) {
    ranks->wait_for(0);
    std::string bytes;
    ranks->broadcast(bytes, 0);
    wire::RankWork work;
    FULMEN_CHECK(work.ParseFromString(bytes), "learner rank " + std::to_string(options.rank) + ": rank 0 sent " +
                                                  std::to_string(bytes.size()) + " bytes that are no RankWork");
    if (work.has_stop()) return;
    parts.begin_phase();
    if (work.has_cold_start()) {
      run_cold_start(config, *parts.tokenizer, *parts.trainer, {});
    } else if (work.has_load()) {
      load_run_checkpoint(work.load().checkpoint(), *parts.trainer);
      parts.weights->pack(parts.ctx);
    } else if (work.has_update()) {
      std::vector<Episode> episodes = decode_update(work.update());
      rl_update(config, episodes, *parts.trainer);
    } else {
      throw Error("learner rank " + std::to_string(options.rank) + ": rank 0 asks for work this build does not know");
    }
    parts.trainer->check_ranks_agree();
    parts.end_phase();
  }
}

}  // namespace fulmen::learner
