#include "learner/conductor.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <set>

#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/launch/local_process.h"
#include "shared/wire/socket.h"
#include "shared/wire/weight_sync.h"

namespace fulmen::learner {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kSilenceMs = 15000;
constexpr int kMaxRestarts = 3;

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

struct Worker {
  std::string role, name, peer;  // peer: routing id once it said Hello
  std::unique_ptr<launch::LocalProcess> process;
  std::string log_path;
  Clock::time_point last_seen = Clock::now();
  bool connected = false;
  int restarts = 0;
  int refused_weights = 0;
  std::set<uint64_t> groups;  // rollout: issued and unfinished
  std::set<uint64_t> scores;  // reward: requests without a verdict
};

Outcome outcome_of(wire::VerdictKind kind) {
  switch (kind) {
    case wire::VERDICT_SCORE:
      return Outcome::kScored;
    case wire::VERDICT_TIMEOUT:
      return Outcome::kTimeout;
    case wire::VERDICT_UNPARSABLE:
      return Outcome::kUnparsable;
    default:
      return Outcome::kError;
  }
}

const char* finish_name(wire::FinishReason f) {
  switch (f) {
    case wire::FINISH_STOP:
      return "stop";
    case wire::FINISH_LENGTH:
      return "length";
    case wire::FINISH_REPETITION:
      return "repetition";
    default:
      return "aborted";
  }
}

size_t utf8_sequence(const std::string& s, size_t i) {  // length of the valid sequence at i, 0 when there is none
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(s[k]); };
  const unsigned char c = byte(i);
  const size_t n = c < 0x80                  ? 1
                   : (c >= 0xC2 && c < 0xE0) ? 2
                   : (c & 0xF0) == 0xE0      ? 3
                   : (c >= 0xF0 && c < 0xF5) ? 4
                                             : 0;
  if (n == 0 || i + n > s.size()) return 0;
  for (size_t k = 1; k < n; ++k)
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  if (n == 3 && ((c == 0xE0 && byte(i + 1) < 0xA0) || (c == 0xED && byte(i + 1) >= 0xA0))) return 0;
  if (n == 4 && ((c == 0xF0 && byte(i + 1) < 0x90) || (c == 0xF4 && byte(i + 1) >= 0x90))) return 0;
  return n;
}

}  // namespace

std::string completion_text(const model::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::vector<int32_t> kept;
  for (const int32_t id : ids)
    if (id != tokenizer.eos_id() && id < tokenizer.vocab_size()) kept.push_back(id);
  const std::string raw = tokenizer.decode(kept);
  std::string text;
  for (size_t i = 0; i < raw.size();) {
    const size_t n = utf8_sequence(raw, i);
    if (n == 0)
      text += "\xEF\xBF\xBD", ++i;
    else
      text += raw.substr(i, n), i += n;
  }
  return text;
}

// One call of run(): which groups and verdicts are still missing.
struct Batch {
  struct Group {
    const GroupJob* job = nullptr;
    std::map<uint32_t, size_t> missing;  // sample index -> episode index
  };
  const GenerateSpec* spec = nullptr;
  std::map<uint64_t, Group> groups;    // by group id
  std::deque<uint64_t> queue;          // groups to issue
  std::map<uint64_t, size_t> scoring;  // score id -> episode index, until the verdict is in
  std::deque<uint64_t> score_queue;    // to send to a reward worker
  std::vector<Episode> episodes;
  int64_t episodes_missing = 0, tokens = 0;
  Clock::time_point last_progress = Clock::now();
  StepCounts* counts = nullptr;
};

struct Conductor::State {
  const base::Config& config;
  std::string config_path, run_id, numerics;
  const model::Tokenizer& tokenizer;
  wire::Server server;
  wire::WeightPublisher publisher;
  std::vector<Worker> workers;
  const wire::WeightsManifest* manifest = nullptr;
  uint64_t version = 0, next_id = 1, incarnation = 0;
  Batch* batch = nullptr;
  bool stopping = false;

  State(const base::Config& c, const std::string& path, const std::string& id, const std::string& digest,
        const model::Tokenizer& t)
      : config(c),
        config_path(path),
        run_id(id),
        numerics(digest),
        tokenizer(t),
        server(c.sync.bind, c.run.dir, id),
        publisher(c.sync.transport, id) {}

  void spawn(Worker& w);
  void send(Worker& w, wire::Message& m);
  void lose(Worker& w, const std::string& why);
  void check_workers();
  void pump(int timeout_ms);
  void handle(Worker& w, wire::Message& m);
  void on_hello(Worker& w, const wire::Hello& hello);
  void on_episode(Worker& w, const wire::Episode& e);
  void on_verdict(Worker& w, const wire::Verdict& v);
  void on_weights_ready(Worker& w, const wire::WeightsReady& r);
  void announce(Worker& w);
  void issue();
  void issue_group(Worker& w, uint64_t id);
  void issue_scores();
  Worker* find_peer(const std::string& peer);
  std::string describe_workers();
};

void Conductor::State::spawn(Worker& w) {
  const std::string program = launch::directory_of_this_program() + "/fulmen-" + w.role;
  w.process = std::make_unique<launch::LocalProcess>(
      std::vector<std::string>{program, w.role, "--endpoint", server.endpoint(), "--run-id", run_id, "--name", w.name,
                               config_path},
      w.log_path);
  w.connected = false;
  w.last_seen = Clock::now();
  base::debug("started {} as pid {}", w.name, w.process->pid());
}

void Conductor::State::send(Worker& w, wire::Message& m) {
  m.peer = w.peer;
  if (!server.send(m)) base::debug("{} could not be reached", w.name);  // check_workers takes it off
}

Worker* Conductor::State::find_peer(const std::string& peer) {
  for (Worker& w : workers)
    if (w.connected && w.peer == peer) return &w;
  return nullptr;
}

std::string Conductor::State::describe_workers() {
  std::string text;
  for (Worker& w : workers)
    text += fmt::format("{}{}: {}, last heard {:.0f} s ago, log {}", text.empty() ? "" : "; ", w.name,
                        w.connected            ? "connected"
                        : w.process->running() ? "not connected"
                                               : w.process->exit_text(),
                        seconds_since(w.last_seen), w.log_path);
  return text;
}

// Takes a worker off: its unfinished work goes back to the queues, and a new process takes its place.
void Conductor::State::lose(Worker& w, const std::string& why) {
  base::warn("{} lost ({}); its {} prompts and {} verdicts are given to others", w.name, why, w.groups.size(),
             w.scores.size());
  if (batch != nullptr) {
    ++batch->counts->workers_lost;
    for (const uint64_t id : w.groups) {
      const auto group = batch->groups.find(id);
      if (group == batch->groups.end()) continue;
      batch->counts->reissued += static_cast<int64_t>(group->second.missing.size());
      batch->queue.push_front(id);
    }
    for (const uint64_t id : w.scores)
      if (batch->scoring.count(id) != 0) batch->score_queue.push_front(id);
  }
  w.groups.clear();
  w.scores.clear();
  w.process->terminate(200);
  if (++w.restarts > kMaxRestarts)
    throw Error(w.name + " was lost " + std::to_string(w.restarts) + " times, want <= " + std::to_string(kMaxRestarts) +
                "; last: " + why + ", log " + w.log_path + "\n" + launch::last_lines(w.log_path, 5));
  spawn(w);
}

void Conductor::State::check_workers() {
  for (Worker& w : workers) {
    if (!w.process->running())
      lose(w, w.process->exit_text());
    else if (seconds_since(w.last_seen) * 1000 > (w.connected ? kSilenceMs : 60000))
      lose(w, "silent");
  }
}

void Conductor::State::pump(int timeout_ms) {
  wire::Message m;
  if (server.receive(m, timeout_ms)) {
    do {
      if (m.envelope.has_hello()) {
        const auto named = std::find_if(workers.begin(), workers.end(),
                                        [&](const Worker& w) { return w.name == m.envelope.hello().name(); });
        if (named == workers.end()) {
          base::warn("hello of unknown worker {} refused", m.envelope.hello().name());
          continue;
        }
        named->peer = m.peer;
        on_hello(*named, m.envelope.hello());
      } else if (Worker* w = find_peer(m.peer)) {
        w->last_seen = Clock::now();
        handle(*w, m);
      }  // a message of a worker that was taken off: its work has been given away
    } while (server.receive(m, 0));
  }
  if (!stopping) check_workers();
}

void Conductor::State::on_hello(Worker& w, const wire::Hello& hello) {
  FULMEN_CHECK(hello.role() != "rollout" || hello.numerics() == numerics,
               w.name + ": numerics digest " + hello.numerics() + ", want the learner's " + numerics +
                   " (same build, device and instruction set on both sides)");
  w.connected = true;
  w.last_seen = Clock::now();
  wire::Message m;
  m.envelope.mutable_welcome()->set_incarnation(++incarnation);
  send(w, m);
  if (w.role == "rollout" && manifest != nullptr) announce(w);
}

void Conductor::State::announce(Worker& w) {
  wire::Message m;
  *m.envelope.mutable_weights_announce() = *manifest;
  send(w, m);
}

void Conductor::State::handle(Worker& w, wire::Message& m) {
  const wire::Envelope& e = m.envelope;
  if (e.has_episode())
    on_episode(w, e.episode());
  else if (e.has_verdict())
    on_verdict(w, e.verdict());
  else if (e.has_weights_ready())
    on_weights_ready(w, e.weights_ready());
  else if (e.has_weights_fetch()) {
    wire::Message reply;
    publisher.answer(e.weights_fetch(), reply);
    send(w, reply);
  } else if (e.has_fault())
    base::error("{}: {}", w.name, e.fault().text());
}

void Conductor::State::on_weights_ready(Worker& w, const wire::WeightsReady& r) {
  if (r.ok()) {
    FULMEN_CHECK(r.version() != version || r.root() == manifest->root(),
                 w.name + " says it serves weights version " + std::to_string(version) + " with another root digest");
    w.refused_weights = 0;
    return;
  }
  base::warn("{} refused weights version {}: {}", w.name, r.version(), r.detail());
  FULMEN_CHECK(++w.refused_weights <= 3,
               w.name + " refused weights version " + std::to_string(r.version()) + " three times: " + r.detail());
  if (r.version() == version) announce(w);
}

void Conductor::State::on_episode(Worker& w, const wire::Episode& e) {
  if (batch == nullptr) return;
  const auto group = batch->groups.find(e.group_id());
  if (group == batch->groups.end()) return;  // of an earlier call
  const auto missing = group->second.missing.find(e.sample_index());
  if (missing == group->second.missing.end()) {
    ++batch->counts->duplicates;
    return;
  }
  FULMEN_CHECK(e.completion_size() == e.logprob_size(), w.name + ": episode with " +
                                                            std::to_string(e.completion_size()) + " tokens and " +
                                                            std::to_string(e.logprob_size()) + " log-probs");
  FULMEN_CHECK(e.weights_digest() == manifest->root(),
               w.name + ": episode generated with other weights than version " + std::to_string(version));
  const size_t at = missing->second;
  Episode& out = batch->episodes[at];
  out.completion.assign(e.completion().begin(), e.completion().end());
  out.logprob.assign(e.logprob().begin(), e.logprob().end());
  out.weights_version = version;
  out.finish = finish_name(e.finish());
  out.truncated = e.finish() == wire::FINISH_LENGTH;
  batch->tokens += e.completion_size();
  batch->last_progress = Clock::now();
  --batch->episodes_missing;
  group->second.missing.erase(missing);
  if (group->second.missing.empty()) w.groups.erase(e.group_id());
  if (e.finish() == wire::FINISH_ABORTED || out.completion.empty()) {
    out.outcome = Outcome::kAborted;
    return;
  }
  const uint64_t id = next_id++;
  batch->scoring[id] = at;
  batch->score_queue.push_back(id);
}

void Conductor::State::on_verdict(Worker& w, const wire::Verdict& v) {
  w.scores.erase(v.id());
  if (batch == nullptr) return;
  const auto at = batch->scoring.find(v.id());
  if (at == batch->scoring.end()) return;
  Episode& e = batch->episodes[at->second];
  e.outcome = outcome_of(v.kind());
  e.score = v.score();
  e.detail = v.detail();
  batch->scoring.erase(at);
  batch->last_progress = Clock::now();
}

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

void Conductor::State::issue_scores() {
  constexpr size_t kOutstanding = 64;  // per reward worker
  while (!batch->score_queue.empty()) {
    Worker* best = nullptr;
    for (Worker& w : workers)
      if (w.role == "reward" && w.connected && w.scores.size() < kOutstanding &&
          (best == nullptr || w.scores.size() < best->scores.size()))
        best = &w;
    if (best == nullptr) return;
    const uint64_t id = batch->score_queue.front();
    batch->score_queue.pop_front();
    const auto at = batch->scoring.find(id);
    if (at == batch->scoring.end()) continue;
    const Episode& e = batch->episodes[at->second];
    const GroupJob* job = nullptr;
    for (auto& [group_id, group] : batch->groups)
      if (group.job->prompt_id == e.prompt_id) job = group.job;
    wire::Message m;
    wire::ScoreRequest& r = *m.envelope.mutable_score_request();
    r.set_id(id);
    r.set_data_source(job->prompt.data_source);
    r.set_prompt(job->prompt.prompt);
    r.set_response(completion_text(tokenizer, e.completion));
    r.set_ground_truth(job->prompt.ground_truth);
    r.set_extra_info(job->prompt.extra_info);
    send(*best, m);
    best->scores.insert(id);
  }
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
                     const std::string& numerics, const model::Tokenizer& tokenizer)
    : state_(std::make_unique<State>(config, config_path, run_id, numerics, tokenizer)) {}

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
  }
}

void Conductor::publish(const model::Weights& weights, uint64_t version) {
  State& s = *state_;
  std::vector<wire::TensorSource> sources;
  for (size_t i = 0; i < weights.num_tensors(); ++i)
    sources.push_back({.name = weights.specs()[i].name,
                       .shape = weights.specs()[i].shape,
                       .dtype = 0,
                       .data = weights.tensor(i).data(),
                       .bytes = weights.tensor(i).size_bytes()});
  s.manifest = &s.publisher.publish(version, sources, weights.constants_digest());
  s.version = version;
  for (Worker& w : s.workers)
    if (w.role == "rollout" && w.connected) s.announce(w);
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
      if (batch.episodes_missing > 0) generated = Clock::now();
      if (on_progress)
        on_progress(total - batch.episodes_missing, total, batch.tokens, static_cast<int64_t>(batch.scoring.size()));
      FULMEN_CHECK(seconds_since(batch.last_progress) < s.config.rollout.timeout_s,
                   "no episode or verdict for " + std::to_string(s.config.rollout.timeout_s) +
                       " s (rollout.timeout_s): " + s.describe_workers());
    }
  } catch (...) {
    s.batch = nullptr;
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
