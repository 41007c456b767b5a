#include "learner/conductor.h"

#include <unistd.h>

#include <algorithm>

#include "kernels/memory.h"
#include "learner/conductor_state.h"
#include "shared/launch/stop_signal.h"

namespace fulmen::learner {

void Conductor::State::issue_group(Worker& w, uint64_t id) {
  const Batch::Group& group = batch->groups.at(id);
  wire::Message m;
  wire::Generate& g = *m.envelope.mutable_generate();
  g.set_group_id(id);
  g.set_prompt_id(group.job->prompt_id);
  g.mutable_prompt()->Add(group.job->prompt.ids.begin(), group.job->prompt.ids.end());
  for (const auto& [sample, episode] : group.missing) g.add_sample_index(sample);
  g.set_weights_version(version);
  wire::Sampling& s = *g.mutable_sampling();
  s.set_temperature(batch->spec->temperature);
  s.set_top_p(1);
  s.set_max_new_tokens(batch->spec->max_new_tokens);
  for (const std::string& stop : config.rollout.stop) s.add_stop(stop);
  s.set_repetition_window(config.rollout.repetition_window);
  s.set_repetition_prob(config.rollout.repetition_prob);
  s.set_seed(batch->spec->seed);
  send(w, m);
  w.groups.insert(id);
}

void Conductor::State::issue() {
  for (Worker& w : workers) {
    if (w.role != "rollout" || !w.connected) continue;
    const auto outstanding = [&] {
      int64_t n = 0;
      for (const uint64_t id : w.groups) n += static_cast<int64_t>(batch->groups.at(id).missing.size());
      return n;
    };
    // Enough to keep the engine full, not so much that one worker hoards what another could do.
    while (!batch->queue.empty() && (w.groups.empty() || outstanding() < 2 * config.rollout.max_sequences)) {
      const uint64_t id = batch->queue.front();
      batch->queue.pop_front();
      issue_group(w, id);
    }
  }
  issue_scores();
}

Conductor::Conductor(const base::Config& config, const std::string& config_path, const std::string& run_id,
                     const std::string& numerics, const model::Tokenizer& tokenizer, kernels::Context& ctx)
    : state_(std::make_unique<State>(config, config_path, run_id, numerics, tokenizer, ctx)) {
  if (config.sync.transport == "nccl" && kernels::host_memory(ctx))
    throw base::ConfigError(
        "sync.transport: got nccl, which needs GPUs, and this run computes on the CPU; want shm, zmq or file");
}

Conductor::~Conductor() { stop(); }

void Conductor::start() {
  State& s = *state_;
  const auto add = [&](const std::string& role, int count) {
    for (int i = 0; i < count; ++i) {
      Worker w;
      w.role = role;
      w.name = role + "-" + std::to_string(i);
      w.log_path = s.config.run.dir + "/logs/" + w.name + ".log";
      s.workers.push_back(std::move(w));
    }
  };
  add("rollout", s.config.rollout.workers);
  add("reward", s.config.reward.workers);
  for (Worker& w : s.workers) s.spawn(w);
  const auto begin = Clock::now();
  while (!std::all_of(s.workers.begin(), s.workers.end(), [](const Worker& w) { return w.connected; })) {
    FULMEN_CHECK(seconds_since(begin) < 60, "workers did not connect within 60 s: " + s.describe_workers());
    s.pump(50);
    launch::throw_if_stopped();
  }
}

std::vector<Episode> Conductor::run(const std::vector<GroupJob>& jobs, const GenerateSpec& spec, StepCounts& counts,
                                    const std::function<void(int64_t, int64_t, int64_t, int64_t)>& on_progress) {
  State& s = *state_;
  Batch batch;
  batch.spec = &spec;
  batch.counts = &counts;
  for (const GroupJob& job : jobs) {
    Batch::Group group{.job = &job, .missing = {}};
    for (int i = 0; i < job.samples; ++i) {
      Episode e;
      e.prompt_id = job.prompt_id;
      e.sample_index = static_cast<uint32_t>(i);
      e.record = job.record;
      e.prompt = job.prompt.ids;
      group.missing[e.sample_index] = batch.episodes.size();
      batch.episodes.push_back(std::move(e));
    }
    const uint64_t id = s.next_id++;
    batch.queue.push_back(id);
    batch.groups.emplace(id, std::move(group));
  }
  const int64_t total = batch.episodes_missing = counts.issued = static_cast<int64_t>(batch.episodes.size());
  s.batch = &batch;
  const auto begin = Clock::now();
  Clock::time_point generated = begin;
  try {
    while (batch.episodes_missing > 0 || !batch.scoring.empty()) {
      s.issue();
      s.pump(20);
      launch::throw_if_stopped();
      if (batch.episodes_missing > 0) generated = Clock::now();
      if (on_progress)
        on_progress(total - batch.episodes_missing, total, batch.tokens, static_cast<int64_t>(batch.scoring.size()));
      FULMEN_CHECK(seconds_since(batch.last_progress) < s.config.rollout.timeout_s,
                   "no episode or verdict for " + std::to_string(s.config.rollout.timeout_s) +
                       " s (rollout.timeout_s): " + s.describe_workers());
    }
  } catch (...) {
    s.batch = nullptr;
    s.desk.clear();
    throw;
  }
  s.batch = nullptr;
  counts.generate_s = std::chrono::duration<double>(generated - begin).count();
  counts.score_wait_s = seconds_since(generated);
  std::sort(batch.episodes.begin(), batch.episodes.end(), [](const Episode& a, const Episode& b) {
    return std::pair(a.prompt_id, a.sample_index) < std::pair(b.prompt_id, b.sample_index);
  });
  return std::move(batch.episodes);
}

void Conductor::pump(int timeout_ms) { state_->pump(timeout_ms); }

void Conductor::stop() {
  State& s = *state_;
  if (s.stopping) return;
  s.stopping = true;
  for (Worker& w : s.workers) {
    if (!w.connected) continue;
    wire::Message m;
    m.envelope.mutable_stop()->set_reason("the run is over");
    s.send(w, m);
  }
  const auto begin = Clock::now();
  const auto all_gone = [&] {
    return std::none_of(s.workers.begin(), s.workers.end(),
                        [](Worker& w) { return w.process && w.process->running(); });
  };
  while (!all_gone() && seconds_since(begin) < 3) usleep(5000);
  s.workers.clear();  // terminates what is left
}

}  // namespace fulmen::learner
