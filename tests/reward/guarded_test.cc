#include "reward/guarded.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "kernels/error.h"
#include "reward/scoring_pool.h"

namespace fulmen::reward {
namespace {

struct Counts {
  std::atomic<int> calls{0}, now{0}, most{0}, made{0}, largest{0};
};

// Scores the length of the response; counts who calls it.
class Counting : public Function {
 public:
  Counting(Counts& counts, std::string version, size_t batch)
      : counts_(counts), version_(std::move(version)), batch_(batch) {
    counts_.made++;
  }
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  size_t batch() const override { return batch_; }
  Verdict score(const Record& r) override { return score_all({&r, 1})[0]; }
  std::vector<Verdict> score_all(std::span<const Record> records) override {
    counts_.calls++;
    const int size = static_cast<int>(records.size());
    if (size > counts_.largest) counts_.largest = size;
    const int now = ++counts_.now;
    if (now > counts_.most) counts_.most = now;
    std::vector<Verdict> verdicts;
    for (const Record& r : records) {
      if (r.response == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(100));
      if (r.response == "throw") {
        --counts_.now;
        throw Error("a defect");
      }
      const Kind kind = r.response == "error" ? Kind::kError : Kind::kScore;
      verdicts.push_back(make_verdict(kind, static_cast<double>(r.response.size()), ""));
    }
    --counts_.now;
    return verdicts;
  }

 private:
  Counts& counts_;
  std::string name_ = "counting", version_;
  size_t batch_;
};

Record record(const std::string& response) {
  Record r;
  r.response = response;
  return r;
}

class GuardedTest : public testing::Test {
 protected:
  std::unique_ptr<Function> make(const std::string& version = "1", int limit = 100, int wait_ms = 1000,
                                 size_t batch = 1) {
    const auto make_one = [this, version, batch] { return std::make_unique<Counting>(counts_, version, batch); };
    return make_guarded(shared_, shared_->instances(version, make_one, limit), wait_ms);
  }
  Counts counts_;
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>(32);
};

TEST_F(GuardedTest, WhatWasScoredOnceIsRememberedByVersionAndInput) {
  auto f = make();
  EXPECT_EQ(f->score(record("abc")).score, 3);
  EXPECT_EQ(f->score(record("abc")).score, 3);
  EXPECT_EQ(counts_.calls, 1);
  Record other = record("abc");
  other.ground_truth = "x";
  f->score(other);
  EXPECT_EQ(counts_.calls, 2);
  make("2")->score(record("abc"));
  EXPECT_EQ(counts_.calls, 3) << "another version is asked anew";
  Record fresh = record("abc");
  fresh.fresh = true;
  f->score(fresh);
  EXPECT_EQ(counts_.calls, 4);
}

TEST_F(GuardedTest, FailuresAreNotRemembered) {
  auto f = make();
  EXPECT_TRUE(f->score(record("error")).kind == Kind::kError);
  f->score(record("error"));
  f->score(record("throw"));
  EXPECT_EQ(f->score(record("throw")).detail, "a defect");
  EXPECT_EQ(counts_.calls, 4);
}

TEST_F(GuardedTest, MemoryIsBoundedAndTheOldestGoesFirst) {
  ResultCache cache(16);  // one a stripe
  std::vector<base::Digest> keys;
  auto f = make();
  for (int i = 0; i < 200; i++) {
    keys.push_back(ResultCache::key(*f, record(std::to_string(i))));
    cache.store(keys.back(), make_verdict(Kind::kScore, i, ""));
  }
  size_t kept = 0;
  for (const auto& key : keys) kept += cache.find(key).has_value();
  EXPECT_LE(kept, 16u);
  EXPECT_GT(kept, 8u);
  EXPECT_EQ(cache.find(keys.back())->score, 199);
}

TEST_F(GuardedTest, BatchAsksOnlyForWhatIsNotRemembered) {
  auto f = make();
  f->score(record("aa"));
  const std::vector<Record> records{record("a"), record("aa"), record("aaa")};
  const auto v = f->score_all(records);
  for (size_t i = 0; i < 3; i++) EXPECT_EQ(v[i].score, static_cast<double>(i + 1));
  EXPECT_EQ(counts_.largest, 2);
}

TEST_F(GuardedTest, NoMoreCallsAtOnceThanTheLimitAndNoMoreInstances) {
  ScoringPool pool([this] { return make("limited", 2, 10000); }, 6, 100);
  std::atomic<int> done{0};
  std::promise<void> all;
  for (int i = 0; i < 12; i++) {
    ScoringJob job;
    job.record = record("slow");
    job.record.id = std::to_string(i);
    job.record.ground_truth = std::to_string(i);
    job.done = [&](const Verdict& v) {
      EXPECT_EQ(v.score, 4) << v.detail;
      if (++done == 12) all.set_value();
    };
    ASSERT_TRUE(pool.push(job, 1000));
  }
  ASSERT_EQ(all.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(counts_.most, 2);
  EXPECT_LE(counts_.made, 2);
}

TEST_F(GuardedTest, NoFreeInstanceUntilTheDeadlineIsATimeout) {
  auto f = make("busy", 1, 20), g = make("busy", 1, 20);
  auto slow = std::async(std::launch::async, [&] { return f->score(record("slow")); });
  while (counts_.now == 0) std::this_thread::yield();
  EXPECT_TRUE(g->score(record("x")).kind == Kind::kTimeout);
  EXPECT_EQ(slow.get().score, 4);
  EXPECT_EQ(g->score(record("x")).score, 1);
}

TEST_F(GuardedTest, PrometheusTextCountsVerdictsAndFillsTheHistogram) {
  auto f = make();
  f->score(record("slow"));
  f->score(record("slow"));
  f->score(record("error"));
  const std::string text = shared_->metrics.prometheus();
  for (const char* line : {"fulmen_reward_verdicts_total{function=\"counting\",verdict=\"score\"} 1\n",
                           "fulmen_reward_verdicts_total{function=\"counting\",verdict=\"error\"} 1\n",
                           "fulmen_reward_cache_hits_total{function=\"counting\"} 1\n",
                           "fulmen_reward_seconds_bucket{function=\"counting\",le=\"0.03\"} 1\n",
                           "fulmen_reward_seconds_bucket{function=\"counting\",le=\"300\"} 2\n",
                           "fulmen_reward_seconds_bucket{function=\"counting\",le=\"+Inf\"} 2\n",
                           "fulmen_reward_seconds_count{function=\"counting\"} 2\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

TEST_F(GuardedTest, FullQueueIsFeltAndLosesNothing) {
  std::atomic<int> done{0};
  {
    ScoringPool pool([this] { return make(); }, 1, 2);
    int taken = 0, refused = 0;
    for (int i = 0; i < 8; i++) {
      ScoringJob job;
      job.record = record("slow");
      job.record.ground_truth = std::to_string(i);
      job.done = [&](const Verdict&) { done++; };
      if (pool.push(job, 1)) {
        taken++;
      } else {
        refused++;
        EXPECT_EQ(job.record.response, "slow") << "a refused job is given back whole";
        EXPECT_TRUE(pool.push(job, 5000));
        taken++;
      }
    }
    EXPECT_EQ(taken, 8);
    EXPECT_GT(refused, 0);
  }
  EXPECT_EQ(done, 8) << "what was taken in is answered, at the latest when the pool ends";
}

TEST_F(GuardedTest, BatchesAreReallySentTogether) {
  ScoringPool pool([this] { return make("batch", 1, 10000, 4); }, 1, 100);
  std::vector<ScoringJob> jobs(9);
  std::promise<void> all;
  std::atomic<int> done{0};
  for (size_t i = 0; i < jobs.size(); i++) {
    jobs[i].record = record(std::string(i + 1, 'x'));
    jobs[i].done = [&, i](const Verdict& v) {
      EXPECT_EQ(v.score, static_cast<double>(i + 1));
      if (++done == 9) all.set_value();
    };
  }
  ASSERT_TRUE(pool.push_all(jobs, 1000));
  ASSERT_EQ(all.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(counts_.calls, 3);
  EXPECT_EQ(counts_.largest, 4);
}

TEST_F(GuardedTest, FunctionThatDoesNotLoadIsKnownAtOnce) {
  EXPECT_THROW(ScoringPool([]() -> std::unique_ptr<Function> { throw Error("does not load"); }, 3, 10), Error);
}

}  // namespace
}  // namespace fulmen::reward
