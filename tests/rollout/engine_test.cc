// The engine over a fake model that checks every slot and page (fake_pass.h): scheduling must be invisible in the
// results, and so must be that it runs one step ahead of what it knows (as on a GPU).

#include "rollout/engine.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <utility>

#include "rollout/batch_engine.h"
#include "tests/rollout/fake_pass.h"
#include "tests/rollout/requests.h"

namespace fulmen::rollout {
namespace {

constexpr int64_t kVocab = 40;
constexpr int32_t kEnd = 7;

bool run_ahead = false;  // of the engines made next

class EngineRuns : public testing::TestWithParam<bool> {
 protected:
  EngineRuns() { run_ahead = GetParam(); }
  ~EngineRuns() override { run_ahead = false; }
};
INSTANTIATE_TEST_SUITE_P(StepByStep, EngineRuns, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Ahead, EngineRuns, testing::Values(true));

struct Letters final : model::Tokenizer {  // token t is the t-th character from 'A' on
  std::vector<int32_t> encode(std::string_view) const override { return {}; }
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) text += static_cast<char>('A' + id);
    return text;
  }
  int32_t token_id(std::string_view) const override { return -1; }
  int64_t vocab_size() const override { return kVocab; }
  int32_t eos_id() const override { return -1; }
  std::string describe() const override { return "letters"; }
};

struct Bench {
  explicit Bench(int max_sequences = 32, int prefill_rows = 64, int64_t pages = 1000, float sharpness = 4,
                 int32_t end = kEnd, const model::Tokenizer* tokenizer = nullptr) {
    const CachePlan plan{.slots = max_sequences, .pages = pages, .max_pages_per_slot = 8};
    EngineLimits limits{
        .max_sequences = max_sequences, .prefill_rows = prefill_rows, .memory_bytes = 0, .max_tokens = 512};
    auto owned = std::make_unique<FakePass>(plan, kVocab, sharpness);
    pass = owned.get();
    engine = std::make_unique<BatchEngine>(std::move(owned), plan, limits, tokenizer, end, run_ahead, ctx);
  }
  kernels::ThreadPool pool{1};
  kernels::Context ctx = kernels::cpu_context(pool);
  FakePass* pass = nullptr;
  std::unique_ptr<BatchEngine> engine;
};

// Prompts below, at and above page borders; groups of one and of many; some samples end early with the end token.
std::vector<GroupRequest> mixed_requests() {
  std::vector<GroupRequest> all;
  const int64_t prompts[] = {1, 5, 63, 64, 65, 130, 17, 200, 128, 2};
  const int samples[] = {1, 4, 3, 5, 2, 4, 8, 1, 3, 6};
  const int lengths[] = {100, 70, 64, 130, 40, 90, 20, 150, 1, 66};
  for (uint64_t i = 0; i < 10; ++i) all.push_back(request(i, prompts[i], samples[i], lengths[i], kVocab));
  return all;
}

// One at a time and step by step.
Results alone() {
  const bool was = std::exchange(run_ahead, false);
  Results results;
  for (const GroupRequest& r : mixed_requests()) {
    for (const uint32_t sample : r.sample_index) {
      Bench b;
      GroupRequest one = r;
      one.sample_index = {sample};
      results.merge(run(*b.engine, {one}));
    }
  }
  run_ahead = was;
  return results;
}

TEST_P(EngineRuns, CompletionDoesNotDependOnWhatElseRuns) {
  Bench b;
  const Results together = run(*b.engine, mixed_requests());
  expect_same(together, alone());
  bool stopped = false, cut = false;
  for (const auto& [key, c] : together) {
    stopped |= c.finish == Finish::kStop && c.tokens.back() == kEnd && c.tokens.size() > 1;
    cut |= c.finish == Finish::kLength;
  }
  EXPECT_TRUE(stopped && cut) << "the requests no longer cover both ways to finish";
}

TEST_P(EngineRuns, CompletionDoesNotDependOnThePrefillSplit) {
  const Results want = alone();
  for (const int rows : {1, 7, 64, 1000}) {
    Bench b(32, rows);
    expect_same(run(*b.engine, mixed_requests()), want);
    EXPECT_LE(b.pass->most_rows_of_a_prompt, rows);
  }
}

TEST_P(EngineRuns, CompletionDoesNotDependOnTheNumberOfSlots) {
  const Results want = alone();
  for (const int slots : {1, 2, 3, 5, 64}) {
    Bench b(slots);
    expect_same(run(*b.engine, mixed_requests()), want);
  }
}

// Without an end token, so that sequences outgrow the pages they were admitted with.
std::vector<GroupRequest> long_requests() {
  return {request(1, 5, 4, 300, kVocab), request(2, 100, 3, 250, kVocab), request(3, 64, 2, 400, kVocab),
          request(4, 17, 1, 490, kVocab), request(5, 129, 5, 130, kVocab)};
}

TEST_P(EngineRuns, PreemptedSequencesResumeWithTheSameBits) {
  const bool mode = std::exchange(run_ahead, false);
  Bench roomy(32, 64, 1000, 4, -1);
  const Results want = run(*roomy.engine, long_requests());
  run_ahead = mode;
  EXPECT_EQ(roomy.engine->stats().preemptions, 0);
  for (const int64_t pages : {8, 11, 16, 24}) {
    Bench b(16, 50, pages, 4, -1);
    expect_same(run(*b.engine, long_requests()), want);
    EXPECT_GT(b.engine->stats().preemptions, 0) << pages << " pages no longer force a preemption";
  }
}

TEST_P(EngineRuns, AnyMixOfSlotsPagesAndArrivalsGivesTheSame) {
  std::vector<GroupRequest> requests = mixed_requests();
  for (GroupRequest& r : requests) r.settings.max_new_tokens = std::min<int>(r.settings.max_new_tokens, 90);
  const bool mode = std::exchange(run_ahead, false);
  Bench roomy;
  const Results want = run(*roomy.engine, requests);
  run_ahead = mode;
  for (uint32_t trial = 0; trial < 60; ++trial) {
    base::Stream random(trial, base::Purpose::kTest);
    Bench b(static_cast<int>(random.next_int(1, 12)), static_cast<int>(random.next_int(1, 100)),
            random.next_int(8, 24));
    std::vector<GroupRequest> shuffled = requests;
    for (size_t i = shuffled.size(); i > 1; --i) {
      std::swap(shuffled[i - 1], shuffled[static_cast<size_t>(random.next_int(0, static_cast<int64_t>(i) - 1))]);
    }
    Results results;
    for (const GroupRequest& r : shuffled) {
      b.engine->submit(r);
      for (int64_t steps = random.next_int(0, 40); steps > 0; --steps) {
        for (Completion& c : b.engine->step()) results[{c.prompt_id, c.sample_index}] = c;
      }
    }
    results.merge(run(*b.engine, {}));
    expect_same(results, want);
  }
}

TEST_P(EngineRuns, TwoEnginesSplittingTheSamplesGiveTheSameAsOne) {
  Bench a, b;
  std::vector<GroupRequest> first, second;
  for (const GroupRequest& r : mixed_requests()) {
    GroupRequest odd = r, even = r;
    std::erase_if(odd.sample_index, [](uint32_t i) { return i % 2 == 0; });
    std::erase_if(even.sample_index, [](uint32_t i) { return i % 2 == 1; });
    if (!odd.sample_index.empty()) first.push_back(odd);
    second.push_back(even);
  }
  Results results = run(*a.engine, first);
  results.merge(run(*b.engine, second));
  expect_same(results, alone());
}

TEST_P(EngineRuns, GroupPrefillsItsPromptOnce) {
  Bench shared, separate;
  const GroupRequest r = request(3, 150, 6, 10, kVocab);
  std::vector<GroupRequest> single;
  for (const uint32_t sample : r.sample_index) {
    single.push_back(r);
    single.back().sample_index = {sample};
  }
  expect_same(run(*shared.engine, {r}), run(*separate.engine, single));
  EXPECT_EQ(shared.engine->stats().prompt_tokens, 150);
  EXPECT_EQ(separate.engine->stats().prompt_tokens, 6 * 150);
  EXPECT_EQ(shared.pass->slots_copied, 5);
}

TEST_P(EngineRuns, GroupLargerThanTheSlotsStillSharesItsPrompt) {
  Bench b(3);
  run(*b.engine, {request(3, 150, 12, 10, kVocab)});
  EXPECT_EQ(b.engine->stats().prompt_tokens, 150);
}

TEST_P(EngineRuns, OrderOfCompletionsIsRepeatable) {
  const auto order = [] {
    Bench b(5, 30, 12);
    std::vector<std::pair<uint64_t, uint32_t>> keys;
    for (const GroupRequest& r : mixed_requests()) b.engine->submit(r);
    while (!b.engine->idle()) {
      for (const Completion& c : b.engine->step()) keys.emplace_back(c.prompt_id, c.sample_index);
    }
    return keys;
  };
  EXPECT_EQ(order(), order());
}

TEST_P(EngineRuns, SeedPromptAndSampleEachChangeTheCompletion) {
  const GroupRequest base = request(1, 9, 1, 30, kVocab);
  const auto tokens = [](GroupRequest r) {
    Bench b;
    return run(*b.engine, {r}).begin()->second.tokens;
  };
  GroupRequest seed = base, sample = base, prompt_id = base;
  seed.settings.seed = 6;
  sample.sample_index = {1};
  prompt_id.prompt_id = 2;
  EXPECT_EQ(tokens(base), tokens(base));
  EXPECT_NE(tokens(base), tokens(seed));
  EXPECT_NE(tokens(base), tokens(sample));
  EXPECT_NE(tokens(base), tokens(prompt_id));
}

TEST_P(EngineRuns, SamplingSettingsReachTheSamplerPerSequence) {
  Bench b;
  GroupRequest greedy = request(1, 9, 2, 30, kVocab), top1 = request(2, 9, 1, 30, kVocab),
               free = request(3, 9, 2, 30, kVocab);
  top1.prompt = greedy.prompt;
  greedy.settings.sampling.temperature = 0;
  top1.settings.sampling.top_k = 1;
  const Results r = run(*b.engine, {greedy, top1, free});
  EXPECT_EQ((r.at({1, 0}).tokens), (r.at({1, 1}).tokens)) << "greedy samples of a prompt differ";
  EXPECT_EQ((r.at({1, 0}).tokens), (r.at({2, 0}).tokens)) << "top_k 1 is not greedy";
  for (const float logprob : r.at({2, 0}).logprob)
    EXPECT_EQ(logprob, 0.0f) << "log-prob is not of the truncated distribution";
  EXPECT_NE((r.at({3, 0}).tokens), (r.at({3, 1}).tokens));
}

// While a step is under way, what the one before sampled is not known; a wrong guess would be seen by the fake's cache.
TEST_P(EngineRuns, StepIsQueuedBeforeTheTokensOfTheOneBeforeAreKnown) {
  Bench b(4, 64, 100, 4, -1);
  b.engine->submit(request(1, 9, 2, 5, kVocab));
  int64_t known_at_most = 0;
  while (!b.engine->idle()) {
    b.engine->step();
    known_at_most = std::max(known_at_most, b.pass->forwards - b.engine->stats().new_tokens / 2);
  }
  EXPECT_EQ(known_at_most, run_ahead ? 1 : 0);
  EXPECT_EQ(b.pass->forwards, 5) << "the last length is known: no row too many";
}

TEST_P(EngineRuns, RowTooManyOfAnEndedSequenceCostsOneForwardAndChangesNothing) {
  Bench b(4);
  GroupRequest r = request(1, 9, 1, 400, kVocab);
  const Results got = run(*b.engine, {r});
  const Completion& c = got.begin()->second;
  ASSERT_EQ(c.finish, Finish::kStop);
  EXPECT_EQ(b.pass->forwards, static_cast<int64_t>(c.tokens.size()) + (run_ahead ? 1 : 0));
  EXPECT_EQ(b.engine->stats().new_tokens, static_cast<int64_t>(c.tokens.size()));
}

// Every way to end, while pages run out: one request stops by text, one by repetition, one by the end token, one by
// length alone.
std::vector<GroupRequest> requests_that_end_in_every_way() {
  std::vector<GroupRequest> all;
  for (uint64_t i = 0; i < 12; ++i) {
    GroupRequest r = request(i, 3 + 23 * static_cast<int64_t>(i), 4, 200, kVocab);
    if (i % 4 == 0)
      for (char c = 'A'; c < 'Z'; ++c) r.settings.stop.push_back({c, static_cast<char>(c + 1)});
    if (i % 4 == 1) r.settings.repetition_window = 3, r.settings.repetition_prob = 0.06f;
    if (i % 4 == 3) r.settings.max_new_tokens = 5;
    all.push_back(r);
  }
  return all;
}

TEST_P(EngineRuns, EveryWayToEndIsTheSameAheadOrNot) {
  const Letters letters;
  const bool mode = std::exchange(run_ahead, false);
  Bench roomy(64, 64, 1000, 4, kEnd, &letters);
  const Results want = run(*roomy.engine, requests_that_end_in_every_way());
  run_ahead = mode;
  EXPECT_EQ(roomy.engine->stats().discarded, 0);
  std::map<std::pair<Finish, bool>, int> ends;  // and with the end token?
  for (const auto& [key, c] : want) ++ends[{c.finish, c.tokens.back() == kEnd}];
  const auto wanted = {std::pair(Finish::kStop, true), std::pair(Finish::kStop, false),
                       std::pair(Finish::kRepetition, false), std::pair(Finish::kLength, false)};
  for (const auto& end : wanted) EXPECT_GE(ends[end], 3) << static_cast<int>(end.first) << end.second;
  for (const int64_t pages : {9, 40}) {
    Bench b(16, 50, pages, 4, kEnd, &letters);
    expect_same(run(*b.engine, requests_that_end_in_every_way()), want);
    const EngineStats stats = b.engine->stats();
    EXPECT_TRUE(pages > 9 || stats.preemptions > 0) << pages << " pages no longer force a preemption";
    const int unforeseen = static_cast<int>(want.size()) - ends[{Finish::kLength, false}];
    EXPECT_LE(stats.discarded, run_ahead ? unforeseen : 0);
    EXPECT_GE(stats.discarded, run_ahead ? unforeseen / 2 : 0);
  }
}

TEST_P(EngineRuns, TokensAreReportedAsTheyAreSampled) {
  Bench b(4);
  std::map<std::pair<uint64_t, uint32_t>, std::vector<int32_t>> seen;
  b.engine->on_token([&](uint64_t group, uint32_t sample, int32_t token) {
    seen[{group - 1000, sample}].push_back(token);
  });
  for (const auto& [key, c] : run(*b.engine, mixed_requests())) EXPECT_EQ(seen[key], c.tokens);
  EXPECT_EQ(seen.size(), alone().size());
}

TEST_P(EngineRuns, ConfidentRunEndsInRepetition) {
  Bench b(4, 64, 100, 5000, -1);  // so sharp that nearly every token has probability 1
  GroupRequest r = request(1, 9, 1, 200, kVocab);
  r.settings.repetition_window = 10;
  const Completion c = run(*b.engine, {r}).begin()->second;
  EXPECT_EQ(c.finish, Finish::kRepetition);
  ASSERT_GE(c.tokens.size(), 10u);
  for (size_t i = c.tokens.size() - 10; i < c.tokens.size(); ++i) EXPECT_GT(c.logprob[i], std::log(0.99f));
}

TEST_P(EngineRuns, AbortedGroupIsHandedBackAndOthersDoNotNotice) {
  Bench b(6);
  std::vector<GroupRequest> all = mixed_requests();
  for (const GroupRequest& r : all) b.engine->submit(r);
  for (int i = 0; i < 5; ++i) b.engine->step();
  const uint64_t victim = all[1].group_id;
  const std::vector<Completion> aborted = b.engine->abort_group(victim);
  EXPECT_FALSE(aborted.empty());
  for (const Completion& c : aborted) {
    EXPECT_EQ(c.finish, Finish::kAborted);
    EXPECT_EQ(c.group_id, victim);
    EXPECT_EQ(c.tokens.size(), c.logprob.size());
  }
  EXPECT_TRUE(b.engine->abort_group(victim).empty());
  const Results rest = run(*b.engine, {}), want = alone();
  for (const auto& [key, c] : rest) {
    EXPECT_NE(c.group_id, victim);
    EXPECT_EQ(c.tokens, want.at(key).tokens);
  }
  EXPECT_FALSE(rest.empty());
}

TEST_P(EngineRuns, AbortAllFreesEverything) {
  Bench b(6, 64, 40);
  for (const GroupRequest& r : mixed_requests()) b.engine->submit(r);
  for (int i = 0; i < 7; ++i) b.engine->step();
  b.engine->abort_all();
  EXPECT_TRUE(b.engine->idle());
  EXPECT_TRUE(b.engine->step().empty());
  expect_same(run(*b.engine, mixed_requests()), alone());
}

TEST_P(EngineRuns, WeightsChangeOnlyWhileIdle) {
  Bench b;
  model::ModelConfig c;
  const model::Weights none(c, kernels::DType::kF32);
  b.engine->submit(request(1, 3, 1, 3, kVocab));
  EXPECT_THROW(b.engine->set_weights(none), Error);
  run(*b.engine, {});
  b.engine->set_weights(none);
  EXPECT_EQ(b.pass->weights_set, 1);
}

TEST_P(EngineRuns, ImpossibleRequestsAreRefusedByName) {
  Bench b;
  const auto message = [&](const std::function<void(GroupRequest&)>& spoil) -> std::string {
    GroupRequest r = request(1, 10, 2, 20, kVocab);
    spoil(r);
    try {
      b.engine->submit(r);
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](GroupRequest&) {}), "accepted");
  EXPECT_EQ(
      message([](GroupRequest& r) { r.settings.max_new_tokens = 503; }),
      "group 1001 (prompt 1): prompt of 10 tokens + max_new_tokens 503 = 513, the engine's limit is max_tokens 512");
  EXPECT_EQ(message([](GroupRequest& r) { r.prompt.clear(); }),
            "group 1001 (prompt 1): empty prompt, want at least one token");
  EXPECT_EQ(message([](GroupRequest& r) { r.prompt[3] = 40; }),
            "group 1001 (prompt 1): prompt token 3 is 40, want [0, 40)");
  EXPECT_NE(message([](GroupRequest& r) { r.sample_index.clear(); }), "accepted");
  EXPECT_NE(message([](GroupRequest& r) { r.settings.max_new_tokens = 0; }), "accepted");
  EXPECT_NE(message([](GroupRequest& r) { r.settings.sampling.temperature = -1; }), "accepted");
  EXPECT_NE(message([](GroupRequest& r) { r.settings.sampling.top_p = 0; }), "accepted");
  EXPECT_NE(message([](GroupRequest& r) { r.settings.stop = {"x"}; }), "accepted")
      << "stop strings without a tokenizer";
  EXPECT_EQ(b.engine->stats().queued, 2) << "a refused request left something behind";
}

}  // namespace
}  // namespace fulmen::rollout
