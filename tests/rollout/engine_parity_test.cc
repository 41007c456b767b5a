// The engine over the real transformer: every schedule gives the same bits, and they are the learner's.

#include <gtest/gtest.h>

#include "kernels/lm_head.h"
#include "rollout/cache_plan.h"
#include "rollout/engine.h"
#include "shared/model/parity.h"
#include "tests/rollout/requests.h"

namespace fulmen::rollout {
namespace {

using kernels::DType;

struct Model {
  explicit Model(const model::ComputeDtypes& dtypes = DType::kF32, int threads = 1)
      : pool(threads), ctx(kernels::cpu_context(pool)), weights(model::parity_model(), dtypes) {
    model::parity_init(weights, 11);
    weights.pack(ctx);
  }
  int64_t slot_bytes(DType cache) const { return model::Cache::slot_bytes(weights.config(), cache); }
  int64_t page_bytes(DType cache) const { return model::Cache::page_bytes(weights.config(), cache); }

  kernels::ThreadPool pool;
  kernels::Context ctx;
  model::Weights weights;
};

std::vector<GroupRequest> requests(const Model& m) {
  const int64_t vocab = m.weights.config().vocab_size;
  std::vector<GroupRequest> all = {request(1, 70, 3, 70, vocab), request(2, 64, 3, 20, vocab),
                                   request(3, 1, 2, 66, vocab), request(4, 128, 2, 3, vocab),
                                   request(5, 33, 1, 100, vocab)};
  all[1].settings.sampling.temperature = 0.75f;
  all[4].settings.sampling.top_p = 0.9f;
  return all;
}

EngineLimits limits(int max_sequences = 16, int prefill_rows = 48) {
  return {.max_sequences = max_sequences, .prefill_rows = prefill_rows, .memory_bytes = 64 << 20, .max_tokens = 256};
}

Results run_with(Model& m, DType cache, const EngineLimits& l, int64_t* preemptions = nullptr) {
  const auto engine = make_engine(m.weights, cache, l, nullptr, m.ctx);
  Results r = run(*engine, requests(m));
  if (preemptions) *preemptions = engine->stats().preemptions;
  return r;
}

Results each_alone(Model& m, DType cache) {
  Results results;
  for (const GroupRequest& r : requests(m)) {
    for (const uint32_t sample : r.sample_index) {
      GroupRequest one = r;
      one.sample_index = {sample};
      results.merge(run(*make_engine(m.weights, cache, limits(), nullptr, m.ctx), {one}));
    }
  }
  return results;
}

TEST(EngineParity, ScheduleNeverChangesABit) {
  for (const DType cache : {DType::kF32, DType::kBf16}) {
    Model m(cache);
    const Results want = each_alone(m, cache);
    expect_same(run_with(m, cache, limits()), want);
    expect_same(run_with(m, cache, limits(16, 1)), want);
    expect_same(run_with(m, cache, limits(3, 500)), want);
    EngineLimits tight = limits(3);
    tight.memory_bytes = 3 * m.slot_bytes(cache) + 6 * m.page_bytes(cache);
    int64_t preemptions = 0;
    expect_same(run_with(m, cache, tight, &preemptions), want);
    EXPECT_GT(preemptions, 0) << "this memory no longer forces a preemption";
  }
}

TEST(EngineParity, ThreadsNeverChangeABit) {
  Model one(DType::kF32, 1), three(DType::kF32, 3);
  expect_same(run_with(three, DType::kF32, limits()), run_with(one, DType::kF32, limits()));
}

TEST(EngineParity, AnotherModelGivesOtherBits) {
  Model a, b;
  b.weights.tensor(3)[0] += 0.25f;
  b.weights.pack(b.ctx);
  const Results of_a = run_with(a, DType::kF32, limits()), of_b = run_with(b, DType::kF32, limits());
  EXPECT_NE((of_a.at({1, 0}).logprob), (of_b.at({1, 0}).logprob));
}

TEST(EngineParity, NewWeightsAreServedAfterTheSwap) {
  Model a, b;
  b.weights.tensor(3)[0] += 0.25f;
  b.weights.pack(b.ctx);
  const auto engine = make_engine(a.weights, DType::kF32, limits(), nullptr, a.ctx);
  expect_same(run(*engine, requests(a)), run_with(a, DType::kF32, limits()));
  engine->set_weights(b.weights);
  expect_same(run(*engine, requests(b)), run_with(b, DType::kF32, limits()));
}

// Log-prob of every completion token from a packed forward of the whole sequence, as the learner computes it.
std::vector<float> learner_logprob(Model& m, DType cache, const GroupRequest& r, const Completion& c) {
  std::vector<int32_t> tokens = r.prompt;
  tokens.insert(tokens.end(), c.tokens.begin(), c.tokens.end());
  const auto T = static_cast<int64_t>(tokens.size()) - 1;
  const std::vector<int32_t> target(tokens.begin() + 1, tokens.end());
  tokens.pop_back();
  const int64_t C = m.weights.config().hidden_size;
  const std::vector<kernels::Segment> segments = {{0, static_cast<int32_t>(T), 0, -1}};
  model::Buffer hidden(static_cast<size_t>(T * C)), logprob(static_cast<size_t>(T)), lse(static_cast<size_t>(2 * T));
  model::Transformer transformer(m.weights, cache, m.ctx);
  transformer.forward({tokens, segments}, nullptr, nullptr, kernels::mat(hidden.data(), T, C));
  kernels::lm_head_forward({kernels::mat(hidden.data(), T, C),
                            m.weights.packed(transformer.lm_head_index()),
                            target,
                            1 / r.settings.sampling.temperature,
                            kernels::vec(logprob.data(), T),
                            {},
                            kernels::mat(lse.data(), T, 2)},
                           m.ctx);
  return {logprob.data() + r.prompt.size() - 1, logprob.data() + T};
}

TEST(EngineParity, BehaviourLogProbIsTheLearnersBitForBit) {
  const std::pair<DType, model::ComputeDtypes> choices[] = {
      {DType::kF32, DType::kF32}, {DType::kBf16, DType::kBf16}, {DType::kF32, {DType::kF32, DType::kBf16}}};
  for (const auto& [cache, dtypes] : choices) {
    Model m(dtypes);
    const Results got = run_with(m, cache, limits());
    int64_t compared = 0;
    for (const GroupRequest& r : requests(m)) {
      if (r.settings.sampling.top_p < 1) continue;  // of a truncated distribution; the learner refuses it
      for (const uint32_t sample : r.sample_index) {
        const Completion& c = got.at({r.prompt_id, sample});
        const std::vector<float> want = learner_logprob(m, cache, r, c);
        ASSERT_EQ(want.size(), c.logprob.size());
        EXPECT_EQ(std::memcmp(want.data(), c.logprob.data(), want.size() * sizeof(float)), 0)
            << "prompt " << r.prompt_id << " sample " << sample;
        compared += static_cast<int64_t>(want.size());
      }
    }
    EXPECT_GT(compared, 400);
  }
}

TEST(EngineParity, MemoryForLessThanOneSequenceIsRefused) {
  Model m;
  EngineLimits l = limits();
  l.memory_bytes = m.slot_bytes(DType::kF32) + 3 * m.page_bytes(DType::kF32);
  EXPECT_THROW(make_engine(m.weights, DType::kF32, l, nullptr, m.ctx), Error);
  l.memory_bytes += m.page_bytes(DType::kF32);
  EXPECT_NO_THROW(make_engine(m.weights, DType::kF32, l, nullptr, m.ctx));
}

}  // namespace
}  // namespace fulmen::rollout
