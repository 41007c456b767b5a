#include "reward/service.h"

#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "kernels/error.h"
#include "shared/base/log.h"
#include "shared/wire/socket.h"

namespace fulmen::reward {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBusyPollMs = 2;  // how long a finished verdict may wait for the talking thread
constexpr int kIdlePollMs = 100;
constexpr int kHelloMs = 1000;

struct Job {
  uint64_t id = 0;
  int64_t deadline_ms = 0;
  Record record;
};

wire::VerdictKind wire_kind(Kind k) {
  switch (k) {
    case Kind::kScore:
      return wire::VERDICT_SCORE;
    case Kind::kTimeout:
      return wire::VERDICT_TIMEOUT;
    case Kind::kError:
      return wire::VERDICT_ERROR;
    case Kind::kUnparsable:
      return wire::VERDICT_UNPARSABLE;
    case Kind::kUndecided:
      return wire::VERDICT_UNDECIDED;
  }
  return wire::VERDICT_ERROR;
}

// The scoring thread and its two queues.
class Scorer {
 public:
  explicit Scorer(Function& function) : function_(function), thread_([this] { run(); }) {}

  ~Scorer() {  // waits for the running call, which has its deadline
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  void push(Job job) {
    {
      std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(job));
    }
    wake_.notify_one();
  }

  bool pop(uint64_t& id, Verdict& v) {
    std::lock_guard lock(mutex_);
    if (done_.empty()) return false;
    std::tie(id, v) = std::move(done_.front());
    done_.pop_front();
    return true;
  }

  void count(uint64_t& running, uint64_t& queued) {
    std::lock_guard lock(mutex_);
    running = running_ ? 1 : 0;
    queued = jobs_.size();
  }

  bool busy() {
    std::lock_guard lock(mutex_);
    return running_ || !jobs_.empty() || !done_.empty();
  }

 private:
  void run() {
    for (;;) {
      Job job;
      {
        std::unique_lock lock(mutex_);
        running_ = false;
        wake_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
        if (stop_) return;
        job = std::move(jobs_.front());
        jobs_.pop_front();
        running_ = true;
      }
      Verdict v = score(job);
      std::lock_guard lock(mutex_);
      done_.emplace_back(job.id, std::move(v));
    }
  }

  Verdict score(const Job& job) {
    Verdict v;
    if (job.deadline_ms > 0 && wire::unix_ms() >= job.deadline_ms) {
      v.kind = Kind::kTimeout;
      v.detail = "the deadline passed while the request was queued";
      return v;
    }
    try {
      return function_.score(job.record);
    } catch (const std::exception& e) {
      v.kind = Kind::kError;
      v.detail = e.what();
      return v;
    }
  }

  Function& function_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::deque<std::pair<uint64_t, Verdict>> done_;
  bool running_ = false, stop_ = false;
  std::thread thread_;  // last: it uses all of the above
};

class Service {
 public:
  Service(const ServiceOptions& options, Function& function)
      : options_(options), client_(options.endpoint, options.run_id), scorer_(function) {}

  std::string run() {
    auto start = Clock::now();
    for (;;) {
      speak(start);
      wire::Message m;
      if (client_.receive(m, scorer_.busy() ? kBusyPollMs : kIdlePollMs) && !handle(m))
        return m.envelope.stop().reason();
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
      uint64_t running = 0, queued = 0;
      scorer_.count(running, queued);
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
    } else if (e.has_score_request()) {
      const wire::ScoreRequest& q = e.score_request();
      Record r{std::to_string(q.id()),
               q.kind(),
               q.data_source(),
               q.prompt(),
               q.response(),
               q.ground_truth(),
               q.extra_info(),
               static_cast<int>(q.deadline_ms()),
               true};
      scorer_.push({q.id(), e.deadline_ms(), std::move(r)});
    } else if (!e.has_heartbeat()) {
      base::warn("{}: ignored a message that is not for a reward service (body {})", options_.name,
                 static_cast<int>(e.body_case()));
    }
    return true;
  }

  void send_verdicts() {
    uint64_t id = 0;
    Verdict v;
    while (scorer_.pop(id, v)) {
      wire::Message m;
      wire::Verdict& out = *m.envelope.mutable_verdict();
      out.set_id(id);
      out.set_kind(wire_kind(v.kind));
      out.set_score(v.score);
      for (const auto& [name, score] : v.components) {
        wire::Component& c = *out.add_components();
        c.set_name(name);
        c.set_score(score);
      }
      out.set_detail(v.detail);
      out.set_ms(v.ms);
      out.set_worker(options_.name);
      out.set_version(v.version);
      if (!client_.send(m))
        base::warn("{}: verdict {} could not be sent; it will be asked for again", options_.name, id);
    }
  }

  const ServiceOptions& options_;
  wire::Client client_;
  Scorer scorer_;
  bool welcomed_ = false;
  Clock::time_point next_word_{};
};

}  // namespace

std::string serve(const ServiceOptions& options, Function& function) { return Service(options, function).run(); }

}  // namespace fulmen::reward
