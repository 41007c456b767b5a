#include "learner/score_health.h"

#include <gtest/gtest.h>

#include "learner/score_desk.h"

namespace fulmen::learner {
namespace {

Episode episode(uint64_t prompt, double score, size_t length, Outcome outcome = Outcome::kScored) {
  Episode e;
  e.prompt_id = prompt;
  e.score = score;
  e.completion.assign(length, 0);
  e.outcome = outcome;
  e.components = {{"math", score}, {"format", 0.5}};
  e.detail = "because";
  return e;
}

TEST(ScoreHealth, CorrelationIsTakenInsideGroups) {
  // Long prompts of easy tasks: correlated over all, not inside a group.
  std::vector<Episode> between{episode(1, 1, 100), episode(1, 1, 110), episode(2, 0, 10), episode(2, 0, 20)};
  EXPECT_EQ(length_correlation(between), 0);
  std::vector<Episode> inside{episode(1, 1, 110), episode(1, 0, 100), episode(2, 1, 20), episode(2, 0, 10)};
  EXPECT_NEAR(length_correlation(inside), 1, 1e-12);
  inside.push_back(episode(2, -100, 10000, Outcome::kError));
  EXPECT_NEAR(length_correlation(inside), 1, 1e-12) << "only scores count";
}

TEST(ScoreHealth, ComponentsAreLoggedApart) {
  ScoreHealth health(base::RewardSection{});
  base::Metrics m;
  const std::vector<Episode> e{episode(1, 1, 10), episode(1, 0, 10)};
  EXPECT_EQ(health.add_step(e, m), "");
  EXPECT_EQ(m.at("reward/component/math"), 0.5);
  EXPECT_EQ(m.at("reward/component/format"), 0.5);
  EXPECT_EQ(m.at("reward/verdict/error"), 0);
}

TEST(ScoreHealth, MoreFailedVerdictsThanTheBudgetRaiseTheAlarmNamingTheReason) {
  base::RewardSection settings;
  settings.max_error_fraction = 0.25f;
  ScoreHealth health(settings);
  base::Metrics m;
  std::vector<Episode> e{episode(1, 1, 1), episode(1, 1, 1), episode(1, 1, 1), episode(1, 0, 1, Outcome::kTimeout)};
  EXPECT_EQ(health.add_step(e, m), "");
  e[0].outcome = Outcome::kError;
  const std::string alarm = health.add_step(e, m);
  EXPECT_NE(alarm.find("2 of 4 verdicts failed (1 errors, 1 timeouts)"), std::string::npos) << alarm;
  EXPECT_NE(alarm.find("because"), std::string::npos);
  for (Episode& x : e) x.outcome = Outcome::kUnparsable;
  EXPECT_EQ(health.add_step(e, m), "") << "what the model did wrong is no fault of the rewards";
  EXPECT_EQ(m.at("reward/verdict/unparsable"), 1);
}

TEST(ScoreHealth, ScoreThatFollowsLengthForFiveStepsRaisesTheAlarm) {
  base::RewardSection settings;
  settings.length_bias_limit = 0.5f;
  ScoreHealth health(settings);
  base::Metrics m;
  const std::vector<Episode> biased{episode(1, 1, 110), episode(1, 0, 100)},
      fair{episode(1, 1, 100), episode(1, 0, 110)};
  for (int step = 0; step < 4; ++step) EXPECT_EQ(health.add_step(biased, m), "");
  EXPECT_EQ(health.add_step(fair, m), "");
  for (int step = 0; step < 4; ++step) EXPECT_EQ(health.add_step(biased, m), "");
  EXPECT_NE(health.add_step(biased, m).find("reward.length_bias_limit"), std::string::npos);
}

TEST(ScoreHealth, LengthThatGrowsAndBuysNothingRaisesTheAlarm) {
  base::RewardSection settings;
  settings.length_drift_limit = 0.3f;
  for (const bool gains : {false, true}) {
    ScoreHealth health(settings);
    std::string alarm;
    for (size_t step = 0; step < 20; ++step) {
      base::Metrics m;
      const double score = gains ? 0.02 * static_cast<double>(step) : 0.5;
      alarm = health.add_step(std::vector<Episode>{episode(1, score, 100 + 10 * step)}, m);
      if (step < 19) {
        EXPECT_EQ(alarm, "");
      }
    }
    EXPECT_EQ(alarm.find("completions grew by") != std::string::npos, !gains) << alarm;
  }
}

wire::Verdict verdict(uint64_t id) {
  wire::Verdict v;
  v.set_id(id);
  return v;
}

// A desk and what its workers were given.
struct Desk : ScoreDesk {
  std::map<std::string, std::vector<uint64_t>> sent;
  void ask(uint64_t id) {
    wire::ScoreRequest r;
    r.set_id(id);
    add(std::move(r));
  }
  void give(const std::vector<std::string>& workers) {
    issue(workers, [&](const std::string& w, const wire::ScoreRequests& q) {
      for (const auto& r : q.items()) sent[w].push_back(r.id());
    });
  }
};

TEST(ScoreDesk, KillingWorkersAtAnyTimeLosesNoRecordAndAnswersNoneTwice) {
  Desk desk;
  for (uint64_t id = 0; id < 2000; ++id) desk.ask(id);
  std::set<uint64_t> answered;
  uint64_t random = 1;
  for (int round = 0; desk.missing() > 0; ++round) {
    ASSERT_LT(round, 10000);
    desk.give({"a", "b", "c"});
    random = random * 6364136223846793005u + 1442695040888963407u;
    const std::string w(1, static_cast<char>('a' + (random >> 33) % 3));
    auto& had = desk.sent[w];
    if ((random >> 40) % 4 == 0) {
      desk.lose(w);
      if ((random >> 50) % 2 == 0) had.clear();  // else it answers after all
    }
    for (int n = 0; n < 20 && !had.empty(); ++n) {
      if (desk.take(w, verdict(had.back()))) {
        EXPECT_TRUE(answered.insert(had.back()).second);
      }
      had.pop_back();
    }
  }
  EXPECT_EQ(answered.size(), 2000u);
  for (const char* w : {"a", "b", "c"}) EXPECT_EQ(desk.outstanding(w), 0u);
}

TEST(ScoreDesk, FewRecordsAreSplitAndManyAreHeldBack) {
  Desk desk;
  for (uint64_t id = 0; id < 4; ++id) desk.ask(id);
  desk.give({"a", "b"});
  EXPECT_EQ(desk.sent["a"].size(), 2u);
  EXPECT_EQ(desk.sent["b"].size(), 2u);
  for (uint64_t id = 4; id < 2000; ++id) desk.ask(id);
  desk.give({"a", "b"});
  EXPECT_LE(desk.outstanding("a"), ScoreDesk::kOutstanding + ScoreDesk::kAtOnce);
  EXPECT_GE(desk.outstanding("a"), ScoreDesk::kOutstanding);
}

}  // namespace
}  // namespace fulmen::learner
