#include "reward/service.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <mutex>
#include <utility>

#include "kernels/error.h"
#include "shared/base/log.h"
#include "shared/wire/socket.h"

namespace fulmen::reward {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBusyPollMs = 1;  // how long a finished verdict may wait for the talking thread
constexpr int kIdlePollMs = 100;
constexpr int kHelloMs = 1000;

wire::VerdictKind wire_kind(const Verdict& v) {
  switch (v.kind) {
    case Kind::kScore:
      return wire::VERDICT_SCORE;
    case Kind::kTimeout:
      return wire::VERDICT_TIMEOUT;
    case Kind::kError:
      return wire::VERDICT_ERROR;
    case Kind::kUnparsable:
      return v.truth_at_fault ? wire::VERDICT_ERROR : wire::VERDICT_UNPARSABLE;
    case Kind::kUndecided:
      return wire::VERDICT_UNDECIDED;
  }
  return wire::VERDICT_ERROR;
}

// Verdicts on their way from the scoring threads to the talking one. Outlives every job: jobs hold it.
class Outbox {
 public:
  void put(wire::Verdict v) {
    std::lock_guard lock(mutex_);
    verdicts_.push_back(std::move(v));
  }
  void put(wire::GoldenReport r) {
    std::lock_guard lock(mutex_);
    reports_.push_back(std::move(r));
  }
  std::vector<wire::Verdict> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(verdicts_, {});
  }
  std::vector<wire::GoldenReport> take_reports() {
    std::lock_guard lock(mutex_);
    return std::exchange(reports_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<wire::Verdict> verdicts_;
  std::vector<wire::GoldenReport> reports_;
};

wire::Verdict to_wire(uint64_t id, const Verdict& v, const std::string& worker) {
  wire::Verdict out;
  out.set_id(id);
  out.set_kind(wire_kind(v));
  out.set_score(v.score);
  for (const auto& [name, score] : v.components) {
    wire::Component& c = *out.add_components();
    c.set_name(name);
    c.set_score(score);
  }
  out.set_detail(v.detail);
  out.set_ms(v.ms);
  out.set_worker(worker);
  out.set_version(v.version);
  return out;
}

Record from_wire(const wire::ScoreRequest& q) {
  Record r;
  r.id = std::to_string(q.id());
  r.kind = q.kind();
  r.data_source = q.data_source();
  r.prompt = q.prompt();
  r.response = q.response();
  r.ground_truth = q.ground_truth();
  if (!q.extra_info().empty()) r.extra_info = q.extra_info();
  r.tokens = q.tokens();
  r.deadline_ms = static_cast<int>(q.deadline_ms());
  r.has_truth = !q.ground_truth().empty();
  return r;
}

class Service {
 public:
  Service(const ServiceOptions& options, ScoringPool& pool)
      : options_(options), client_(options.endpoint, options.run_id), pool_(pool) {}

  std::string run() {
    auto start = Clock::now();
    for (;;) {
      speak(start);
      wire::Message m;
      // Requests that found no room keep the next ones in the socket: the conductor feels it, and nothing is lost.
      if (!waiting_.empty()) {
        if (pool_.push_all(waiting_, kBusyPollMs)) waiting_.clear();
      } else if (client_.receive(m, answered_ < asked_ ? kBusyPollMs : kIdlePollMs) && !handle(m)) {
        return m.envelope.stop().reason();
      }
      send_verdicts();
    }
  }

 private:
  // Hello until Welcome, then heartbeats.
  void speak(Clock::time_point start) {
    int64_t lost = client_.disconnected_ms();
    int limit = welcomed_ ? options_.lost_ms : options_.welcome_ms;
    FULMEN_CHECK(lost < limit, fmt::format("{}: no connection to the conductor at {} for {} ms", options_.name,
                                           options_.endpoint, lost));
    auto now = Clock::now();
    if (!welcomed_) {
      FULMEN_CHECK(now - start < std::chrono::milliseconds(options_.welcome_ms),
                   fmt::format("{}: the conductor at {} did not answer Hello within {} ms", options_.name,
                               options_.endpoint, options_.welcome_ms));
    }
    if (now < next_word_) return;
    next_word_ = now + std::chrono::milliseconds(welcomed_ ? options_.heartbeat_ms : kHelloMs);
    wire::Message m;
    if (welcomed_) {
      size_t running = 0, queued = 0;
      pool_.count(running, queued);
      m.envelope.mutable_heartbeat()->set_running(running);
      m.envelope.mutable_heartbeat()->set_queued(queued);
    } else {
      wire::Hello& hello = *m.envelope.mutable_hello();
      hello.set_role("reward");
      hello.set_name(options_.name);
      hello.set_pid(getpid());
      hello.set_config_hash(options_.config_hash);
    }
    if (!client_.send(m)) base::warn("{}: the conductor takes no messages", options_.name);
  }

  bool handle(wire::Message& m) {  // false on Stop
    const wire::Envelope& e = m.envelope;
    if (e.has_stop()) return false;
    FULMEN_CHECK(!e.has_fault(), options_.name + ": refused by the conductor: " + e.fault().text());
    if (e.has_welcome()) {
      welcomed_ = true;
      next_word_ = Clock::now();
    } else if (e.has_score_requests()) {
      for (const wire::ScoreRequest& q : e.score_requests().items()) waiting_.push_back(job(q, e.deadline_ms()));
      asked_ += waiting_.size();
    } else if (e.has_golden_check()) {
      ask_golden(e.golden_check().step());
    } else if (!e.has_heartbeat()) {
      base::warn("{}: ignored a message that is not for a reward service (body {})", options_.name,
                 static_cast<int>(e.body_case()));
    }
    return true;
  }

  ScoringJob job(const wire::ScoreRequest& q, int64_t deadline) {
    return {from_wire(q), deadline, [id = q.id(), outbox = outbox_, name = options_.name](const Verdict& v) {
              outbox->put(to_wire(id, v, name));
            }};
  }

  // The report goes out with the last of the cases.
  void ask_golden(uint64_t step) {
    struct Check {
      std::mutex mutex;
      size_t missing = 0;
      wire::GoldenReport report;
    };
    auto check = std::make_shared<Check>();
    check->missing = options_.golden.size();
    check->report.set_step(step);
    check->report.set_cases(options_.golden.size());
    if (options_.golden.empty()) outbox_->put(check->report);
    for (const GoldenCase& c : options_.golden) {
      waiting_.push_back({c.record, 0, [check, &c, outbox = outbox_](const Verdict& v) {
                            std::lock_guard lock(check->mutex);
                            const std::string wrong = compare(c, v);
                            if (!wrong.empty()) check->report.add_failed(wrong);
                            if (--check->missing == 0) outbox->put(check->report);
                          }});
    }
  }

  void send_verdicts() {
    for (wire::GoldenReport& report : outbox_->take_reports()) {
      wire::Message m;
      *m.envelope.mutable_golden_report() = std::move(report);
      if (!client_.send(m)) base::warn("{}: the report on the golden cases could not be sent", options_.name);
    }
    std::vector<wire::Verdict> verdicts = outbox_->take();
    if (verdicts.empty()) return;
    answered_ += verdicts.size();
    wire::Message m;
    for (wire::Verdict& v : verdicts) *m.envelope.mutable_verdicts()->add_items() = std::move(v);
    if (!client_.send(m))
      base::warn("{}: {} verdicts could not be sent; they will be asked for again", options_.name, verdicts.size());
  }

  const ServiceOptions& options_;
  wire::Client client_;
  ScoringPool& pool_;
  std::shared_ptr<Outbox> outbox_ = std::make_shared<Outbox>();
  std::vector<ScoringJob> waiting_;
  uint64_t asked_ = 0, answered_ = 0;
  bool welcomed_ = false;
  Clock::time_point next_word_{};
};

}  // namespace

std::string serve(const ServiceOptions& options, ScoringPool& pool) { return Service(options, pool).run(); }

}  // namespace fulmen::reward
