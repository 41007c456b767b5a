// The whole model on the emulated CUDA backend: rollout and learner agree bit for bit there too, a training step gives
// the bits of the CPU, and no host code follows a pointer into device memory (that would end the process).

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "cuda_runtime.h"
#include "cuda_test_device.h"
#include "kernels/lm_head.h"
#include "kernels/memory.h"
#include "kernels/table.h"
#include "learner/divergence.h"
#include "learner/trainer.h"
#include "rollout/engine.h"

namespace fulmen {
namespace {

using kernels::DType;

model::ModelConfig tiny_config() {
  return model::parse_model_config(R"({"architectures":["MiniMaxM1ForCausalLM"],"model_type":"minimax_m1",
    "attn_type_list":[0,0,1],"hidden_size":32,"intermediate_size":32,"num_hidden_layers":3,"num_attention_heads":2,
    "num_key_value_heads":1,"head_dim":16,"rotary_dim":8,"num_local_experts":4,"num_experts_per_tok":2,"vocab_size":61,
    "postnorm":true,"rope_theta":10000,"layernorm_mlp_alpha":2.0,"initializer_range":0.15,
    "shared_intermediate_size":16,"shared_moe_mode":"sigmoid"})",
                                   "test");
}

struct Sampled {
  std::vector<int32_t> prompt;
  rollout::Completion completion;
};

std::vector<Sampled> run_to_idle(rollout::Engine& engine) {
  std::vector<rollout::GroupRequest> requests(2);
  for (size_t g = 0; g < 2; ++g) {
    requests[g].group_id = requests[g].prompt_id = g;
    for (int i = 0; i < 62 + static_cast<int>(g); ++i) requests[g].prompt.push_back((i * 7 + static_cast<int>(g)) % 61);
    requests[g].sample_index = {0, 1};
    requests[g].settings.max_new_tokens = 9;
    requests[g].settings.sampling.temperature = 0.9f;
    engine.submit(requests[g]);
  }
  std::vector<Sampled> all;
  while (!engine.idle())
    for (rollout::Completion& c : engine.step()) all.push_back({requests[c.group_id].prompt, std::move(c)});
  return all;
}

std::vector<Sampled> generate(const model::Weights& weights, DType cache, kernels::Context& ctx,
                              int max_sequences = 3) {
  const rollout::EngineLimits limits{
      .max_sequences = max_sequences, .prefill_rows = 11, .memory_bytes = 1 << 20, .max_tokens = 120};
  return run_to_idle(*rollout::make_engine(weights, cache, limits, nullptr, ctx));
}

struct Learner {
  model::Weights weights;
  std::unique_ptr<learner::Trainer> trainer;
  Learner(const model::ComputeDtypes& dtypes, DType cache, kernels::Context& ctx) : weights(tiny_config(), dtypes) {
    weights.init_random(5);
    weights.pack(ctx);
    trainer = std::make_unique<learner::Trainer>(weights, cache, true, 100, ctx);
  }
};

std::vector<learner::Sequence> sequences_of(const std::vector<Sampled>& sampled) {
  std::vector<learner::Sequence> s;
  for (const Sampled& x : sampled) s.push_back({x.prompt, x.completion.tokens});
  return s;
}

void expect_same(const std::vector<Sampled>& want, const std::vector<Sampled>& got) {
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(want[i].completion.tokens, got[i].completion.tokens);
    EXPECT_EQ(want[i].completion.logprob, got[i].completion.logprob);
  }
}

TEST(CudaModel, RolloutAndLearnerAgreeBitForBit) {
  const std::pair<DType, model::ComputeDtypes> choices[] = {
      {DType::kF32, DType::kF32}, {DType::kBf16, DType::kBf16}, {DType::kBf16, {DType::kBf16, DType::kBf16}}};
  for (const auto& [cache, dtypes] : choices) {
    kernels::ThreadPool pool(1);
    kernels::TestDevice device(pool);
    Learner l(dtypes, cache, device.context());
    const auto sampled = generate(l.weights, cache, device.context());
    ASSERT_EQ(sampled.size(), 4u);
    std::vector<std::vector<float>> logprob;
    l.trainer->score(sequences_of(sampled), kernels::inverse_temperature(0.9f), logprob);
    for (size_t i = 0; i < sampled.size(); ++i) {
      const std::vector<float>& behaviour = sampled[i].completion.logprob;
      ASSERT_EQ(behaviour.size(), logprob[i].size());
      EXPECT_EQ(std::memcmp(behaviour.data(), logprob[i].data(), behaviour.size() * 4), 0) << i;
    }
  }
}

TEST(CudaModel, InFp32GenerationAndATrainingStepGiveTheBitsOfTheCpu) {
  kernels::ThreadPool pool(1);
  kernels::Context cpu = kernels::cpu_context(pool);
  kernels::TestDevice device(pool);
  Learner on_cpu(DType::kF32, DType::kF32, cpu), on_device(DType::kF32, DType::kF32, device.context());
  const auto want = generate(on_cpu.weights, DType::kF32, cpu),
             got = generate(on_device.weights, DType::kF32, device.context());
  expect_same(want, got);
  const auto sequences = sequences_of(want);
  for (Learner* l : {&on_cpu, &on_device}) {
    l->trainer->accumulate(sequences, 1, false,
                           [](size_t, std::span<const float> p, std::span<const float>, std::span<float> d,
                              std::span<float>) { std::fill_n(d.begin(), p.size(), -0.01f); });
    l->trainer->optimizer_step({.lr = 1e-2f});
  }
  EXPECT_EQ(on_cpu.weights.root_digest(), on_device.weights.root_digest());
}

// The same generation with and without graphs; the counters say that both ways were gone.
TEST(CudaModel, DecodeStepsByGraphHaveTheBitsOfTheDirectOnes) {
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    kernels::ThreadPool pool(1);
    kernels::TestDevice device(pool);
    kernels::KernelTable without = *device.context().table;
    without.begin_recording = nullptr;
    kernels::Context direct = device.context();
    direct.table = &without;
    Learner l(dtype, dtype, device.context());
    emulation::counts() = {};
    const auto want = generate(l.weights, dtype, direct);
    EXPECT_EQ(emulation::counts().graph_launches, 0);
    const auto got = generate(l.weights, dtype, device.context());
    EXPECT_GE(emulation::counts().graph_launches, 8);
    // Three rows at most: the buckets of 1, 2 and 4, and where a bucket comes with other kernels, once more.
    EXPECT_LE(emulation::counts().graphs_built, 6) << "of " << emulation::counts().graph_launches;
    expect_same(want, got);
  }
}

// Streams run late, in two orders: nothing relies on work that was not waited for. When the host waits for the tokens
// of a decode step, the next step is queued behind it already. With all sequences at once, the decode rows of the first
// group run beside the prompt of the second.
TEST(CudaModel, DecodeStepsAreQueuedAheadAndAnyOrderOfTheStreamsHasTheSameBits) {
  using emulation::StreamOrder;
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    kernels::ThreadPool pool(1);
    kernels::TestDevice device(pool);
    Learner l(dtype, dtype, device.context());
    const auto want = generate(l.weights, dtype, device.context(), 4);
    for (const StreamOrder order : {StreamOrder::kAwaitedFirst, StreamOrder::kOthersFirst}) {
      emulation::set_stream_order(order);
      emulation::counts() = {};
      const auto got = generate(l.weights, dtype, device.context(), 4);
      EXPECT_GE(emulation::counts().waits_with_work_behind, 8);
      EXPECT_GE(emulation::counts().stream_waits, 8) << "no step of prompts and decode rows";
      emulation::set_stream_order(StreamOrder::kAtOnce);
      expect_same(want, got);
    }
  }
}

// A version from GPU to GPU: what departs has the bytes that the manifest's digests are of, and what arrived generates
// the same.
TEST(CudaModel, WeightsThatArriveOnTheDeviceGenerateTheSameBits) {
  kernels::ThreadPool pool(1);
  kernels::TestDevice device(pool);
  kernels::Context& ctx = device.context();
  Learner l(DType::kBf16, DType::kBf16, ctx);
  model::Weights arrived(tiny_config(), DType::kBf16);
  for (size_t i = 0; i < arrived.num_tensors(); ++i) {
    const bool bf16 = arrived.wire_dtype(i) == DType::kBf16;
    const std::vector<uint16_t> rounded = l.weights.to_bf16(i, ctx);
    const void* const published = bf16 ? static_cast<const void*>(rounded.data()) : l.weights.tensor(i).data();
    std::vector<uint8_t> departed(rounded.size() * (bf16 ? 2 : 4));
    kernels::copy_out(departed.data(), l.weights.departing(i), departed.size(), ctx);
    EXPECT_EQ(std::memcmp(departed.data(), published, departed.size()), 0) << l.weights.specs()[i].name;
    kernels::copy_within(arrived.arriving(i, ctx), l.weights.departing(i), departed.size(), ctx);
  }
  arrived.pack_arrived(ctx);
  const auto want = generate(l.weights, DType::kBf16, ctx), got = generate(arrived, DType::kBf16, ctx);
  expect_same(want, got);
}

TEST(CudaModel, SecondStepTakesNoMemoryOfTheDevice) {
  kernels::ThreadPool pool(1);
  kernels::TestDevice device(pool);
  Learner l(DType::kBf16, DType::kBf16, device.context());
  const rollout::EngineLimits limits{
      .max_sequences = 3, .prefill_rows = 11, .memory_bytes = 1 << 20, .max_tokens = 120};
  const auto engine = rollout::make_engine(l.weights, DType::kBf16, limits, nullptr, device.context());
  std::vector<int> taken;
  for (int step = 0; step < 3; ++step) {
    emulation::counts() = {};
    const auto sampled = run_to_idle(*engine);
    l.trainer->accumulate(sequences_of(sampled), 1, false,
                          [](size_t, std::span<const float> p, std::span<const float>, std::span<float> d,
                             std::span<float>) { std::fill_n(d.begin(), p.size(), -0.01f); });
    l.trainer->optimizer_step({.lr = 1e-2f});
    engine->set_weights(l.weights);
    taken.push_back(emulation::counts().allocations + emulation::counts().pinned_allocations);
  }
  EXPECT_GT(taken[0], 0);
  EXPECT_EQ(taken[1], 0);
  EXPECT_EQ(taken[2], 0);
}

TEST(CudaModel, PlanTakenAtTheStartIsOneAllocation) {
  kernels::ThreadPool pool(1);
  kernels::TestDevice device(pool);
  kernels::Context& ctx = device.context();
  kernels::reserve(size_t{64} << 20, ctx);
  size_t before = 0;
  for (int round = 0; round < 2; ++round) {  // in the first, the scratch memory of the kernels is made
    before = kernels::bytes_free(ctx);
    emulation::counts() = {};
    Learner l(DType::kF32, DType::kF32, ctx);
    EXPECT_LT(kernels::bytes_free(ctx), before);
    const auto sampled = generate(l.weights, DType::kF32, ctx);
    EXPECT_EQ(sampled.size(), 4u);
  }
  EXPECT_EQ(kernels::bytes_free(ctx), before) << "what was given back can be had again";
  EXPECT_EQ(emulation::counts().allocations, 0);
  kernels::trim(ctx);
  EXPECT_THROW(kernels::reserve(size_t{2} << 30, ctx), Error);
}

// Log-prob, entropy and both gradients of 200064 tokens' vocabulary: what they take beyond their arguments, by the
// calls that the host makes (the kernels do nothing here).
TEST(CudaModel, LmHeadTakesLessThan300MBWhateverItsLength) {
  const int64_t V = 200064;
  for (const int64_t C : {2048, 6144}) {
    std::vector<size_t> extra;
    for (const int64_t T : {4096, 262144}) {
      kernels::ThreadPool pool(1);
      kernels::TestDevice device(pool);
      kernels::Context& ctx = device.context();
      const kernels::DeviceMemory somewhere = kernels::allocate(256, ctx);
      auto* p = static_cast<float*>(somewhere.get());
      const std::vector<int32_t> target(static_cast<size_t>(T), 7);
      const kernels::PackedWeight w{p, DType::kBf16, V, C};
      kernels::TensorRef rows = kernels::mat(p, V, C), flat = kernels::vec(p, T), lse = kernels::mat(p, T, 2);
      rows.dtype = DType::kBf16;
      const kernels::TensorRef h = kernels::mat(p, T, C), dw = kernels::mat(p, V, C);
      const size_t before = kernels::bytes_free(ctx);
      emulation::set_idle(true);
      kernels::lm_head_forward({h, w, target, 1, flat, flat, lse}, ctx);
      kernels::lm_head_backward({h, w, rows, target, 1, lse, flat, flat, flat, h, dw}, ctx);
      kernels::synchronize(ctx);
      emulation::set_idle(false);
      extra.push_back(before - kernels::bytes_free(ctx));
    }
    EXPECT_LT(extra[0], size_t{300} * 1000 * 1000) << C;
    EXPECT_EQ(extra[1], extra[0]) << C;
  }
}

// The digest sees the entropy, whose sums have another order on the device: roles on the two are told apart.
TEST(CudaModel, NumericsDigestIsRepeatableAndNotThatOfTheCpu) {
  kernels::ThreadPool pool(1);
  kernels::Context cpu = kernels::cpu_context(pool);
  kernels::TestDevice device(pool);
  const auto digest = [](kernels::Context& ctx, DType t) { return model::numerics_digest(ctx, tiny_config(), t, t); };
  for (const DType t : {DType::kF32, DType::kBf16}) {
    EXPECT_EQ(digest(device.context(), t), digest(device.context(), t));
    EXPECT_NE(digest(device.context(), t), digest(cpu, t));
  }
}

TEST(CudaModel, ObserversSeeCopies) {
  kernels::ThreadPool pool(1);
  kernels::TestDevice device(pool);
  Learner l(DType::kBf16, DType::kBf16, device.context());
  const std::vector<int32_t> prompt = {1, 2, 3}, target = {4, 5, 6};
  const learner::Divergence d =
      learner::find_divergence(l.weights, l.weights, DType::kBf16, {prompt, target}, device.context());
  EXPECT_FALSE(d.found);
}

}  // namespace
}  // namespace fulmen
