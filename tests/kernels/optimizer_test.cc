#include "kernels/optimizer.h"

#include "tests/kernels/properties.h"
#include "tests/reference/optimizer_ref.h"

namespace fulmen::kernels {
namespace {

// Sizes around Vec, chunk and grain boundaries, and an empty one in the middle.
const std::vector<int64_t> kSizes = {1, 5, 4096, 0, 4097, 17, 300000, 16 * 4096, 1};

struct Tensors {
  std::vector<Floats> p, g, m, v;
  explicit Tensors(const std::vector<int64_t>& sizes) {
    for (size_t i = 0; i < sizes.size(); ++i) {
      const auto seed = static_cast<uint32_t>(i);
      p.push_back(normal_floats(sizes[i], seed));
      g.push_back(normal_floats(sizes[i], 100 + seed));
      m.push_back(Floats(sizes[i]));
      v.push_back(Floats(sizes[i]));
    }
  }
  static TensorRef ref(const Floats& x) { return vec(x.data(), static_cast<int64_t>(x.size())); }
  std::vector<AdamW> steps(const AdamW& settings) const {
    std::vector<AdamW> all;
    for (size_t i = 0; i < p.size(); ++i) {
      AdamW a = settings;
      a.param = ref(p[i]), a.grad = ref(g[i]), a.m = ref(m[i]), a.v = ref(v[i]);
      all.push_back(a);
    }
    return all;
  }
  std::vector<TensorRef> grads() const {
    std::vector<TensorRef> all;
    for (const Floats& x : g) all.push_back(ref(x));
    return all;
  }
  Floats everything() const {
    Floats all;
    for (const auto* group : {&p, &g, &m, &v})
      for (const Floats& x : *group) all.insert(all.end(), x.begin(), x.end());
    return all;
  }
};

AdamW settings() {
  AdamW a;
  a.lr = 1e-2f, a.weight_decay = 0.1f, a.grad_scale = 0.5f;
  return a;
}

TEST(AdamW, MatchesDoubleReferenceOverManySteps) {
  Machine machine(2);
  const int64_t n = 333;
  Tensors t({n});
  std::vector<reference::AdamW> want(n);
  for (int64_t i = 0; i < n; ++i) want[i].p = t.p[0][i];
  for (int step = 1; step <= 20; ++step) {
    t.g[0] = normal_floats(n, 1000 + step);
    AdamW a = settings();
    a.step = step;
    for (int64_t i = 0; i < n; ++i) want[i].step(0.5 * t.g[0][i], a.lr, a.beta1, a.beta2, a.eps, a.weight_decay, step);
    adamw_step(t.steps(a), machine.ctx);
  }
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_NEAR(t.p[0][i], want[i].p, 3e-6) << "element " << i;
    ASSERT_NEAR(t.m[0][i], want[i].m, 1e-6);
    ASSERT_NEAR(t.v[0][i], want[i].v, 1e-6);
  }
}

// M1 reports gradients down to 1e-18 and sets eps to 1e-15 for them; a flushed v would make the step enormous.
TEST(AdamW, TinyGradientsGiveAFullSizedStep) {
  Machine machine(1);
  Tensors t({3});
  t.p[0] = {0, 0, 0}, t.g[0] = {1e-18f, -1e-12f, 0};
  AdamW a;
  a.lr = 1e-3f;
  adamw_step(t.steps(a), machine.ctx);
  EXPECT_NEAR(t.p[0][0], -1e-3 * 1e-18 / (1e-18 + 1e-15), 1e-9);
  EXPECT_NEAR(t.p[0][1], 1e-3, 2e-6);
  EXPECT_EQ(t.p[0][2], 0);
}

TEST(AdamW, SameBitsForThreadsInstructionSetsAndAnySplitIntoTensors) {
  const auto run = [](Context& ctx, const std::vector<int64_t>& sizes) {
    Tensors t(sizes);
    AdamW a = settings();
    for (a.step = 1; a.step <= 2; ++a.step) {
      adamw_step(t.steps(a), ctx);
      for (size_t i = 0; i < t.g.size(); ++i)
        t.g[i] = normal_floats(static_cast<int64_t>(t.g[i].size()), static_cast<uint32_t>(i));
    }
    return t.everything();
  };
  expect_same_bits_everywhere([&](Context& ctx) { return run(ctx, kSizes); });
  Machine machine(2);
  Tensors whole({10000}), parts({10000});
  adamw_step(whole.steps(settings()), machine.ctx);
  std::vector<AdamW> pieces;
  for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 7}, {7, 5000}, {5000, 10000}}) {
    AdamW a = parts.steps(settings())[0];
    for (TensorRef* r : {&a.param, &a.grad, &a.m, &a.v}) *r = vec(r->f32() + begin, end - begin);
    pieces.push_back(a);
  }
  adamw_step(pieces, machine.ctx);
  EXPECT_TRUE(same_bits(parts.everything(), whole.everything()));
}

TEST(AdamW, ZeroesGradientsOnlyWhenAsked) {
  Machine machine(2);
  for (const bool zero_grad : {true, false}) {
    Tensors t({5000});
    const Floats before = t.g[0];
    AdamW a = settings();
    a.zero_grad = zero_grad;
    adamw_step(t.steps(a), machine.ctx);
    EXPECT_TRUE(same_bits(t.g[0], zero_grad ? Floats(5000, 0.0f) : before));
  }
}

TEST(GlobalSumOfSquares, MatchesDoubleSumAndDoesNotDependOnThreads) {
  const Tensors t(kSizes);
  double want = 0;
  for (const Floats& g : t.g)
    for (const float x : g) want += static_cast<double>(x) * x;
  Machine machine(2);
  EXPECT_NEAR(global_sum_of_squares(t.grads(), machine.ctx), want, 1e-6 * want);
  expect_same_bits_everywhere([&](Context& ctx) {
    const double sum = global_sum_of_squares(t.grads(), ctx);
    Floats bits(2);
    std::memcpy(bits.data(), &sum, 8);
    return bits;
  });
}

TEST(GlobalSumOfSquares, NotANumberIsNotHidden) {
  Machine machine(2);
  Tensors t({9000});
  t.g[0][8999] = std::nanf("");
  EXPECT_TRUE(std::isnan(global_sum_of_squares(t.grads(), machine.ctx)));
}

TEST(Optimizer, EmptyListsAndBadArguments) {
  Machine machine(1);
  EXPECT_EQ(global_sum_of_squares({}, machine.ctx), 0);
  adamw_step({}, machine.ctx);
  Tensors none({0, 0});
  EXPECT_EQ(global_sum_of_squares(none.grads(), machine.ctx), 0);
  adamw_step(none.steps({}), machine.ctx);

  const Tensors t({4, 5});
  auto steps = t.steps({});
  steps[1].m = vec(t.m[0].data(), 4);
  expect_error([&] { adamw_step(steps, machine.ctx); }, "adamw_step: tensor 1: m is (4), want (5)");
  steps = t.steps({});
  steps[0].step = 0;
  expect_error([&] { adamw_step(steps, machine.ctx); }, "tensor 0: step is 0");
  steps[0].step = 1, steps[0].beta2 = 1;
  expect_error([&] { adamw_step(steps, machine.ctx); }, "tensor 0: beta2 is 1");
  const TensorRef matrix = mat(t.g[0].data(), 2, 2);
  expect_error([&] { global_sum_of_squares({&matrix, 1}, machine.ctx); }, "tensor 0 is (2, 2), want rank 1");
}

}  // namespace
}  // namespace fulmen::kernels
