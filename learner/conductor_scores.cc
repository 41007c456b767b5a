// The conductor's part that has to do with verdicts.
#include "learner/conductor_state.h"
#include "shared/base/log.h"

namespace fulmen::learner {
namespace {

Outcome outcome_of(wire::VerdictKind kind) {
  switch (kind) {
    case wire::VERDICT_SCORE:
      return Outcome::kScored;
    case wire::VERDICT_TIMEOUT:
      return Outcome::kTimeout;
    case wire::VERDICT_UNPARSABLE:
      return Outcome::kUnparsable;
    case wire::VERDICT_UNDECIDED:
      return Outcome::kUndecided;
    default:
      return Outcome::kError;
  }
}

}  // namespace

void Conductor::State::issue_scores() {
  std::vector<std::string> names;
  std::map<std::string, Worker*> by_name;
  for (Worker& w : workers) {
    if (w.role != "reward" || !w.connected) continue;
    names.push_back(w.name);
    by_name[w.name] = &w;
  }
  desk.issue(names, [&](const std::string& name, const wire::ScoreRequests& requests) {
    wire::Message m;
    *m.envelope.mutable_score_requests() = requests;
    send(*by_name.at(name), m);
  });
}

void Conductor::State::ask_verdict(const Batch::Group& group, size_t episode) {
  const PromptRecord& prompt = group.job->prompt;
  wire::ScoreRequest r;
  r.set_id(next_id++);
  r.set_data_source(prompt.data_source);
  r.set_prompt(prompt.prompt);
  r.set_response(completion_text(tokenizer, batch->episodes[episode].completion));
  r.set_tokens(batch->episodes[episode].completion.size());
  r.set_ground_truth(prompt.ground_truth);
  r.set_extra_info(prompt.extra_info);
  batch->scoring[r.id()] = episode;
  desk.add(std::move(r));
}

void Conductor::State::on_verdict(Worker& w, const wire::Verdict& v) {
  if (!desk.take(w.name, v) || batch == nullptr) return;
  const auto at = batch->scoring.find(v.id());
  if (at == batch->scoring.end()) return;
  Episode& e = batch->episodes[at->second];
  e.outcome = outcome_of(v.kind());
  e.score = v.score();
  e.detail = v.detail();
  e.components.clear();
  for (const wire::Component& c : v.components()) e.components.emplace_back(c.name(), c.score());
  batch->scoring.erase(at);
  batch->last_progress = Clock::now();
}

std::string Conductor::check_golden(int64_t step) {
  constexpr double kDeadlineS = 600;
  State& s = *state_;
  s.golden.clear();
  std::map<std::string, std::string> asked;  // worker -> routing id of the process that was asked
  const auto begin = Clock::now();
  for (bool all = false; !all;) {
    all = true;
    for (Worker& w : s.workers) {
      if (w.role != "reward" || s.golden.count(w.name) != 0) continue;
      all = false;
      if (!w.connected || asked[w.name] == w.peer) continue;
      wire::Message m;
      m.envelope.mutable_golden_check()->set_step(static_cast<uint64_t>(step));
      s.send(w, m);
      asked[w.name] = w.peer;
    }
    if (!all) s.pump(20);
    FULMEN_CHECK(seconds_since(begin) < kDeadlineS, "reward.golden: no report within 600 s: " + s.describe_workers());
  }
  std::string text;
  for (const auto& [name, report] : s.golden)
    for (const std::string& failed : report.failed()) text += (text.empty() ? "" : "; ") + name + ": " + failed;
  return text;
}

}  // namespace fulmen::learner
