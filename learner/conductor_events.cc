#include <algorithm>

#include "learner/conductor_state.h"
#include "shared/base/log.h"

namespace fulmen::learner {
namespace {

constexpr int kSilenceMs = 15000;
constexpr int kConnectMs = 60000;
constexpr int kMaxRestarts = 3;

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

}  // namespace

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
             desk.outstanding(w.name));
  if (batch != nullptr) {
    ++batch->counts->workers_lost;
    for (const uint64_t id : w.groups) {
      const auto group = batch->groups.find(id);
      if (group == batch->groups.end()) continue;
      batch->counts->reissued += static_cast<int64_t>(group->second.missing.size());
      batch->queue.push_front(id);
    }
  }
  w.groups.clear();
  desk.lose(w.name);
  w.process->terminate(200);
  if (++w.restarts > kMaxRestarts)
    throw Error(w.name + " was lost " + std::to_string(w.restarts) + " times, want <= " + std::to_string(kMaxRestarts) +
                "; last: " + why + ", log " + w.log_path + "\n" + launch::last_lines(w.log_path, 5));
  spawn(w);
}

void Conductor::State::check_workers() {
  for (Worker& w : workers) {
    if (!w.process->running()) {
      if (w.process->refused()) {  // its last line is "  | error: WHY\n"
        const std::string line = launch::last_lines(w.log_path, 1);
        const std::string why = line.substr(line.rfind("error: ") + sizeof "error: " - 1);
        throw base::ConfigError(fmt::format("{}: {} [log {}]", w.name, why.substr(0, why.find('\n')), w.log_path));
      }
      lose(w, w.process->exit_text());
    } else if (seconds_since(w.last_seen) * 1000 > (w.connected ? kSilenceMs : kConnectMs))
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
                   " (same build and device on both sides)");
  w.connected = true;
  w.last_seen = Clock::now();
  wire::Message m;
  m.envelope.mutable_welcome()->set_incarnation(++incarnation);
  send(w, m);
  if (w.role == "rollout" && manifest != nullptr) announce(w);
}

void Conductor::State::handle(Worker& w, wire::Message& m) {
  const wire::Envelope& e = m.envelope;
  if (e.has_episode())
    on_episode(w, e.episode());
  else if (e.has_verdicts())
    for (const wire::Verdict& v : e.verdicts().items()) on_verdict(w, v);
  else if (e.has_golden_report())
    golden[w.name] = e.golden_report();
  else if (e.has_resting())
    w.resting = true;
  else if (e.has_weights_ready())
    on_weights_ready(w, e.weights_ready());
  else if (e.has_weights_fetch()) {
    wire::Message reply;
    publisher.answer(e.weights_fetch(), reply);
    send(w, reply);
  } else if (e.has_fault())
    base::error("{}: {}", w.name, e.fault().text());
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
  FULMEN_CHECK(e.finish() == wire::FINISH_ABORTED || e.weights_digest() == manifest->root(),
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
  ask_verdict(group->second, at);
}

}  // namespace fulmen::learner
