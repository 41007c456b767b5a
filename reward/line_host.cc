#include "reward/line_host.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <thread>

#include "kernels/error.h"
#include "reward/child_process.h"
#include "reward/record_json.h"
#include "shared/base/log.h"

namespace fulmen::reward {
namespace {

using Clock = ChildProcess::Clock;

constexpr int kFirstPauseMs = 100;
constexpr size_t kMaxBatch = 4096;
constexpr int kMaxPrints = 10000;  // lines that are no answer, in one call
constexpr int kMaxDeaths = 2;      // of its own, on one record
constexpr int kMaxKills = 8;       // from outside, on one record: while loading or while scoring

// What one exchange came to.
struct Outcome {
  enum class Kind { kAnswered, kTimeout, kDied, kBroken } kind = Kind::kAnswered;
  std::vector<Verdict> verdicts;
  std::string why;
  bool killed = false;  // by SIGKILL or SIGTERM, which no program sends itself: the record is not to blame
};

class LineHost : public Function {
 public:
  explicit LineHost(LineHostOptions options) : options_(std::move(options)) {
    const std::string why = start();
    FULMEN_CHECK(why.empty(), why);
  }

  const std::string& name() const override { return options_.name; }
  const std::string& version() const override { return options_.version; }
  bool wants_reasoning() const override { return true; }
  bool wants_truth() const override { return wants_truth_; }
  size_t batch() const override { return batch_; }
  Verdict score(const Record& r) override { return score_all({&r, 1})[0]; }

  std::vector<Verdict> score_all(std::span<const Record> records) override {
    std::vector<Verdict> verdicts;
    for (size_t begin = 0; begin < records.size(); begin += batch_) {
      const auto part = records.subspan(begin, std::min(batch_, records.size() - begin));
      for (Verdict& v : score_part(part)) verdicts.push_back(std::move(v));
    }
    return verdicts;
  }

 private:
  std::vector<Verdict> score_part(std::span<const Record> records) {
    Outcome o = attempt(records);
    for (int deaths = 1; records.size() == 1 && asks_again(o, deaths); ++deaths) o = attempt(records);
    if (o.kind == Outcome::Kind::kAnswered) return std::move(o.verdicts);
    if (records.size() == 1) {
      const Kind kind = o.kind == Outcome::Kind::kTimeout ? Kind::kTimeout : Kind::kError;
      return {make_verdict(kind, 0, o.why)};
    }
    std::vector<Verdict> verdicts;
    for (const Record& r : records) verdicts.push_back(score_part({&r, 1})[0]);
    return verdicts;
  }

  static bool asks_again(const Outcome& o, int deaths) {
    if (o.killed) return deaths < kMaxKills;
    return o.kind == Outcome::Kind::kDied && deaths < kMaxDeaths;
  }

  Outcome attempt(std::span<const Record> records) {
    Outcome o;
    if (!child_.running()) {
      pause();
      o.why = start();
      if (!o.why.empty()) {
        o.kind = Outcome::Kind::kBroken;
        o.killed = child_.killed();
        return failed(std::move(o));
      }
    }
    int limit_ms = options_.deadline_ms;
    for (const Record& r : records)
      if (r.deadline_ms > 0) limit_ms = std::min(limit_ms, r.deadline_ms);
    const auto deadline = Clock::now() + std::chrono::milliseconds(limit_ms);
    std::string line;
    Json reply;
    ++calls_;
    auto result = child_.exchange(request(records), line, deadline);
    for (int prints = 0; result == ChildProcess::Result::kLine && !is_answer(line, reply); ++prints) {
      base::info("{} printed: {}", options_.name, line.substr(0, 500));
      result = prints < kMaxPrints ? child_.read_line(line, deadline) : ChildProcess::Result::kTimeout;
    }
    if (result == ChildProcess::Result::kTimeout) {
      child_.kill();
      o.kind = Outcome::Kind::kTimeout;
      o.why = fmt::format("no answer within {} ms; the process was killed", limit_ms);
      return failed(std::move(o));
    }
    if (result == ChildProcess::Result::kGone) {
      o.kind = Outcome::Kind::kDied;
      o.why = fmt::format("the process {} while scoring this record", child_.kill());
      o.killed = child_.killed();
      return failed(std::move(o));
    }
    return read(reply, line, records.size());
  }

  std::string request(std::span<const Record> records) const {
    if (!options_.greets) {
      Json j = write_record(records[0]);
      j["id"] = calls_;
      return dump_json(j);
    }
    Json list = Json::array();
    for (const Record& r : records) list.push_back(write_record(r));
    return dump_json({{"id", calls_}, {"records", std::move(list)}});
  }

  // One that greets has promised that nothing else comes.
  bool is_answer(const std::string& line, Json& reply) const {
    try {
      reply = parse_json(line);
    } catch (const std::exception&) {
      reply = Json();
    }
    return options_.greets || reply.is_object();
  }

  Outcome read(const Json& reply, const std::string& line, size_t wanted) {
    Outcome o;
    try {
      FULMEN_CHECK(
          reply.is_object() && reply.contains("id") && reply["id"] == calls_,
          fmt::format("an answer that is not to this record (want \"id\":{}): {}", calls_, line.substr(0, 200)));
      if (!options_.greets) {
        o.verdicts.push_back(verdict_of(reply));
      } else {
        FULMEN_CHECK(reply.contains("verdicts") && reply["verdicts"].is_array() && reply["verdicts"].size() == wanted,
                     fmt::format("want {} verdicts: {}", wanted, line.substr(0, 200)));
        for (const Json& v : reply["verdicts"]) o.verdicts.push_back(verdict_of(v));
      }
      failures_ = 0;
      return o;
    } catch (const std::exception& e) {
      child_.kill();
      o.kind = Outcome::Kind::kBroken;
      o.why = json_reason(e);
      return failed(std::move(o));
    }
  }

  static Verdict verdict_of(const Json& j) {
    try {
      return read_verdict(j);
    } catch (const std::exception& e) {
      return make_verdict(Kind::kError, 0, json_reason(e));
    }
  }

  // Empty, or what is wrong; then no process is left.
  std::string start() {
    try {
      child_.start(options_.arguments, options_.memory_bytes);
    } catch (const Error& e) {
      return options_.where + ": " + e.what();
    }
    if (!options_.greets) return "";
    std::string line;
    const auto result = child_.read_line(line, Clock::now() + std::chrono::milliseconds(options_.start_ms));
    if (result == ChildProcess::Result::kTimeout) {
      child_.kill();
      return options_.where + fmt::format(": did not load within {} ms", options_.start_ms);
    }
    if (result == ChildProcess::Result::kGone) return options_.where + ": while loading, the process " + child_.kill();
    std::string why = greet(line);
    if (why.empty()) return "";
    child_.kill();
    return options_.where + ": " + why;
  }

  std::string greet(const std::string& line) {
    try {
      const Json greeting = parse_json(line);
      if (greeting.contains("error")) return text_of(greeting["error"]);
      FULMEN_CHECK(greeting.value("ready", false), "not ready");
      wants_truth_ = greeting.value("truth", false);
      batch_ = std::clamp<size_t>(greeting.value("batch", size_t{1}), 1, kMaxBatch);
      return "";
    } catch (const std::exception&) {
      return "unreadable greeting: " + line.substr(0, 200);
    }
  }

  Outcome failed(Outcome o) {
    ++failures_;
    base::warn("reward {}: {} ({} in a row)", options_.name, o.why, failures_);
    return o;
  }

  // The first restart is at once; a function that dies every time does not become a fork loop.
  void pause() const {
    if (failures_ < 2) return;
    const int ms = kFirstPauseMs << std::min(failures_ - 2, 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(ms, options_.max_pause_ms)));
  }

  const LineHostOptions options_;
  ChildProcess child_;
  uint64_t calls_ = 0;
  int failures_ = 0;
  bool wants_truth_ = false;
  size_t batch_ = 1;
};

}  // namespace

std::unique_ptr<Function> make_line_host(LineHostOptions options) {
  return std::make_unique<LineHost>(std::move(options));
}

}  // namespace fulmen::reward
