#include "reward/service.h"

#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <future>
#include <set>
#include <thread>

#include "kernels/error.h"
#include "shared/wire/socket.h"

namespace fulmen::reward {
namespace {

class Slow : public Function {  // takes `ms` for a response "slow"
 public:
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return name_; }
  Verdict score(const Record& r) override {
    if (r.response == "throw") throw Error("a defect");
    if (r.ground_truth == "?") {
      Verdict v = make_verdict(Kind::kUnparsable, 0, "ground_truth \"?\"");
      v.truth_at_fault = true;
      return v;
    }
    if (r.response == "?") return make_verdict(Kind::kUnparsable, 0, "no answer");
    if (r.response == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(400));
    Verdict v;
    v.score = r.response == r.ground_truth;
    v.components = {{"slow", v.score}};
    v.detail = r.id + r.data_source + r.prompt + r.extra_info;
    return v;
  }

 private:
  std::string name_ = "slow";
};

class RewardService : public testing::Test {
 protected:
  RewardService() : server_("tcp://127.0.0.1:*", "", "run") {
    options_.endpoint = server_.endpoint();
    options_.run_id = "run";
    options_.name = "reward-0";
    options_.config_hash = "abc";
    options_.heartbeat_ms = 50;
  }

  void start() {
    result_ = std::async(std::launch::async, [this] {
      ScoringPool pool([] { return std::make_unique<Slow>(); }, threads_, queue_);
      return serve(options_, pool);
    });
  }

  // The next message other than heartbeats, which are counted.
  wire::Message next() {
    wire::Message m;
    for (;;) {
      if (!server_.receive(m, 10000)) throw Error("no message came");
      peer_ = m.peer;
      if (!m.envelope.has_heartbeat()) return m;
      heartbeats_++;
      running_seen_ += m.envelope.heartbeat().running();
    }
  }

  wire::Verdict verdict() {
    while (verdicts_.empty()) {
      wire::Message m = next();
      if (!m.envelope.has_verdicts()) throw Error("not verdicts");
      for (const wire::Verdict& v : m.envelope.verdicts().items()) verdicts_.push_back(v);
    }
    wire::Verdict v = verdicts_.front();
    verdicts_.pop_front();
    return v;
  }

  void welcome() {
    wire::Message m = next();
    EXPECT_EQ(m.envelope.hello().role(), "reward");
    EXPECT_EQ(m.envelope.hello().name(), "reward-0");
    EXPECT_EQ(m.envelope.hello().config_hash(), "abc");
    wire::Message w;
    w.envelope.mutable_welcome()->set_incarnation(1);
    send(w);
  }

  void send(wire::Message& m) {
    m.peer = peer_;
    ASSERT_TRUE(server_.send(m));
  }

  void ask(uint64_t id, const std::string& response, int64_t deadline_ms = 0, const std::string& truth = "yes") {
    wire::Message m;
    m.envelope.set_deadline_ms(deadline_ms);
    wire::ScoreRequest& q = *m.envelope.mutable_score_requests()->add_items();
    q.set_id(id);
    q.set_data_source("gsm8k");
    q.set_prompt("p");
    q.set_response(response);
    q.set_ground_truth(truth);
    q.set_extra_info("{}");
    send(m);
  }

  void stop() {
    wire::Message m;
    m.envelope.mutable_stop()->set_reason("the run is over");
    send(m);
  }

  wire::Server server_;
  ServiceOptions options_;
  int threads_ = 1;
  size_t queue_ = 100;
  std::deque<wire::Verdict> verdicts_;
  std::future<std::string> result_;
  std::string peer_;
  int heartbeats_ = 0;
  uint64_t running_seen_ = 0;
};

TEST_F(RewardService, AGroundTruthNobodyCanReadCountsAsAnErrorInARun) {
  start();
  welcome();
  ask(1, "?");
  ask(2, "yes", 0, "?");
  EXPECT_EQ(verdict().kind(), wire::VERDICT_UNPARSABLE);
  EXPECT_EQ(verdict().kind(), wire::VERDICT_ERROR) << "reward.unparsable: zero would make it a 0";
  stop();
  result_.get();
}

TEST_F(RewardService, AnswersEveryRequestAndStops) {
  start();
  welcome();
  ask(1, "yes");
  ask(2, "no");
  ask(3, "throw");
  for (uint64_t id = 1; id <= 3; id++) {
    const wire::Verdict v = verdict();
    EXPECT_EQ(v.id(), id);
    EXPECT_EQ(v.worker(), "reward-0");
    if (id == 3) {
      EXPECT_EQ(v.kind(), wire::VERDICT_ERROR);
      EXPECT_EQ(v.detail(), "a defect");
      continue;
    }
    EXPECT_EQ(v.kind(), wire::VERDICT_SCORE);
    EXPECT_EQ(v.score(), id == 1 ? 1.0 : 0.0);
    ASSERT_EQ(v.components_size(), 1);
    EXPECT_EQ(v.components(0).name(), "slow");
    EXPECT_EQ(v.detail(), std::to_string(id) + "gsm8kp{}");
  }
  stop();
  EXPECT_EQ(result_.get(), "the run is over");
}

TEST_F(RewardService, HeartbeatsGoOnWhileAFunctionRuns) {
  start();
  welcome();
  ask(1, "slow");
  EXPECT_EQ(verdict().id(), 1u);
  EXPECT_GE(heartbeats_, 3);
  EXPECT_GE(running_seen_, 2u);
  stop();
  result_.get();
}

TEST_F(RewardService, RequestPastItsDeadlineIsATimeout) {
  start();
  welcome();
  ask(1, "slow");
  ask(2, "yes", wire::unix_ms() + 50);  // waits behind the slow one
  verdict();
  EXPECT_EQ(verdict().kind(), wire::VERDICT_TIMEOUT);
  stop();
  result_.get();
}

TEST_F(RewardService, TenTimesTheLoadThatFitsLosesNothing) {
  threads_ = 2;
  queue_ = 8;
  start();
  welcome();
  constexpr uint64_t kRecords = 800;
  wire::Message m;
  for (uint64_t id = 1; id <= kRecords; id++) {
    wire::ScoreRequest& q = *m.envelope.mutable_score_requests()->add_items();
    q.set_id(id);
    q.set_response("yes");
    q.set_ground_truth("yes");
    if (id % 80 != 0) continue;
    send(m);
    m.envelope.clear_score_requests();
  }
  std::set<uint64_t> seen;
  while (seen.size() < kRecords) {
    const wire::Verdict v = verdict();
    EXPECT_EQ(v.kind(), wire::VERDICT_SCORE);
    EXPECT_TRUE(seen.insert(v.id()).second) << v.id();
  }
  stop();
  result_.get();
}

TEST_F(RewardService, GoldenCasesAreScoredWhenAsked) {
  GoldenCase right, wrong;
  right.record.response = right.record.ground_truth = "a";
  right.score = 1;
  right.where = "g:1";
  wrong.record.response = "a";
  wrong.score = 1;
  wrong.where = "g:2";
  options_.golden = {right, wrong};
  start();
  welcome();
  wire::Message m;
  m.envelope.mutable_golden_check()->set_step(7);
  send(m);
  const wire::Message report = next();
  ASSERT_TRUE(report.envelope.has_golden_report());
  EXPECT_EQ(report.envelope.golden_report().step(), 7u);
  EXPECT_EQ(report.envelope.golden_report().cases(), 2u);
  ASSERT_EQ(report.envelope.golden_report().failed_size(), 1);
  EXPECT_EQ(report.envelope.golden_report().failed(0).rfind("g:2: got score 0, want score 1", 0), 0u)
      << report.envelope.golden_report().failed(0);
  stop();
  result_.get();
}

TEST_F(RewardService, FaultOfTheConductorEndsItNamingTheReason) {
  options_.run_id = "another";
  start();
  wire::Message m;
  while (result_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) server_.receive(m, 20);
  try {
    result_.get();
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("another"), std::string::npos) << e.what();
  }
}

TEST_F(RewardService, ConductorThatNeverWelcomesEndsIt) {
  options_.welcome_ms = 100;
  start();
  EXPECT_THROW(result_.get(), Error);
}

TEST(RewardServiceAlone, ConductorThatIsGoneEndsIt) {
  auto server = std::make_unique<wire::Server>("tcp://127.0.0.1:*", "", "run");
  ServiceOptions options;
  options.endpoint = server->endpoint();
  options.run_id = "run";
  options.name = "reward-0";
  options.lost_ms = 100;
  ScoringPool pool([] { return std::make_unique<Slow>(); }, 1, 10);
  auto result = std::async(std::launch::async, [&] { return serve(options, pool); });
  wire::Message m;
  ASSERT_TRUE(server->receive(m, 10000));
  wire::Message w;
  w.peer = m.peer;
  w.envelope.mutable_welcome();
  ASSERT_TRUE(server->send(w));
  while (!m.envelope.has_heartbeat()) ASSERT_TRUE(server->receive(m, 10000));
  server.reset();
  try {
    result.get();
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("no connection to the conductor"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fulmen::reward
