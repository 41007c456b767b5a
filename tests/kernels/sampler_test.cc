#include "kernels/sampler.h"

#include <cstdlib>
#include <memory>

#include "tests/kernels/properties.h"
#include "tests/reference/sampler_ref.h"

namespace fulmen::kernels {
namespace {

struct Drawn {
  std::vector<int32_t> token;
  Floats logprob;
};

// One row of logits drawn from at every u.
Drawn draw(Context& ctx, const Floats& row, const SamplingSettings& settings, const std::vector<double>& u) {
  const auto B = static_cast<int64_t>(u.size()), V = static_cast<int64_t>(row.size());
  Floats logits;
  for (int64_t b = 0; b < B; ++b) logits.insert(logits.end(), row.begin(), row.end());
  const std::vector<SamplingSettings> all(B, settings);
  Drawn d{std::vector<int32_t>(B), Floats(B)};
  sample_rows({mat(logits.data(), B, V), all, u, d.token, d.logprob}, ctx);
  return d;
}

std::vector<double> evenly_spaced(int n) {
  std::vector<double> u;
  for (int i = 0; i < n; ++i) u.push_back((i + 0.5) / n);
  return u;
}

// Every token and logprob against the inverse of the reference's cumulative distribution; u too close to a step to tell
// in fp32 is skipped.
void expect_matches_reference(Context& ctx, const Floats& row, const SamplingSettings& s) {
  const auto want = reference::sampling_distribution(to_double(row), s.temperature, s.top_k, s.top_p, s.min_p);
  ASSERT_GT(want.margin, 1e-6) << "choose another seed";
  const auto u = evenly_spaced(row.size() > 1000 ? 40 : 400);
  const Drawn got = draw(ctx, row, s, u);
  for (size_t i = 0; i < u.size(); ++i) {
    const auto token = static_cast<size_t>(got.token[i]);
    ASSERT_GT(want.p[token], 0) << "token " << token << " was truncated";
    EXPECT_NEAR(got.logprob[i], std::log(want.p[token]), 1e-5);
    double below = 0;
    for (size_t v = 0; v < token; ++v) below += want.p[v];
    EXPECT_GE(u[i], below - 1e-5) << "token " << token;
    EXPECT_LE(u[i], below + want.p[token] + 1e-5) << "token " << token;
  }
}

TEST(Sampler, MatchesBruteForceForEverySetting) {
  Machine machine(2);
  for (const int64_t V : {1, 7, 100, 1000, 5000, 9001}) {
    const Floats row = normal_floats(V, static_cast<uint32_t>(V), 3);
    for (const SamplingSettings s : {SamplingSettings{},
                                     {0.7f, 0, 1, 0},
                                     {1, 1, 1, 0},
                                     {1, 5, 1, 0},
                                     {1.3f, 50, 1, 0},
                                     {1, 0, 0.9f, 0},
                                     {2, 0, 0.3f, 0},
                                     {1, 0, 1e-3f, 0},
                                     {1, 0, 1, 0.05f},
                                     {0.9f, 20, 0.8f, 0},
                                     {1, 40, 0.95f, 0.02f},
                                     {5, 0, 0.999f, 0.3f}}) {
      SCOPED_TRACE(testing::Message() << "V " << V << " temperature " << s.temperature << " top_k " << s.top_k
                                      << " top_p " << s.top_p << " min_p " << s.min_p);
      expect_matches_reference(machine.ctx, row, s);
    }
  }
}

TEST(Sampler, ManyTiesFollowTheTotalOrder) {
  Machine machine(1);
  for (const int64_t V : {300, 6000}) {
    Floats row = normal_floats(V, 8, 1.5f);
    for (float& x : row) x = std::round(x);
    for (const int top_k : {1, 2, 3, 17, 100, 299}) expect_matches_reference(machine.ctx, row, {1, top_k, 1, 0});
    for (const float top_p : {0.01f, 0.2f, 0.5f, 0.77f}) expect_matches_reference(machine.ctx, row, {1, 0, top_p, 0});
  }
  const Floats flat = {-0.0f, 0, -0.0f, 0, 0, 0, 0, 0, 0, 0};
  for (const SamplingSettings s : {SamplingSettings{1, 4, 1, 0}, {1, 0, 0.35f, 0}}) {
    for (const int32_t token : draw(machine.ctx, flat, s, evenly_spaced(40)).token) EXPECT_LT(token, 4);
    EXPECT_EQ(draw(machine.ctx, flat, s, {0.99}).token[0], 3);
  }
}

TEST(Sampler, DrawsFollowTheDistribution) {
  Machine machine(2);
  const int64_t V = 60;
  const int n = 20000;
  const Floats row = normal_floats(V, 4);
  std::mt19937_64 gen(5);
  std::vector<double> u;
  for (int i = 0; i < n; ++i) u.push_back(static_cast<double>(gen() >> 11) * 0x1p-53);
  std::vector<int> count(V);
  for (const int32_t token : draw(machine.ctx, row, {}, u).token) ++count[token];
  const auto want = reference::sampling_distribution(to_double(row), 1, 0, 1, 0);
  double chi2 = 0;
  for (int64_t v = 0; v < V; ++v) {
    const double mean = n * want.p[v];
    chi2 += (count[v] - mean) * (count[v] - mean) / mean;
  }
  EXPECT_LT(chi2, 59 + 4 * std::sqrt(2 * 59.0));
  EXPECT_GT(chi2, 59 - 4 * std::sqrt(2 * 59.0));
}

TEST(Sampler, LogprobEqualsTheLearnersBitForBit) {
  Machine machine(2);
  const int64_t T = 24, C = 40, V = 9001;
  const Floats h = normal_floats(T * C, 1), w = normal_floats(V * C, 2, 0.4f);
  const std::unique_ptr<void, void (*)(void*)> packed(
      std::aligned_alloc(64, (packed_bytes(V, C, DType::kF32) + 63) / 64 * 64), &std::free);
  pack_weight(mat(w.data(), V, C), DType::kF32, packed.get(), machine.ctx);
  const PackedWeight view{packed.get(), DType::kF32, V, C};
  for (const float temperature : {1.0f, 0.7f, 0.0f}) {
    Floats logits(T * V), sampled(T), learned(T), lse(2 * T);
    std::vector<int32_t> token(T);
    for (int64_t t = 0; t < T; ++t)  // one row at a time, as in decoding
      linear_forward({mat(&h[t * C], 1, C), view, mat(&logits[t * V], 1, V)}, machine.ctx);
    const std::vector<SamplingSettings> settings(T, {temperature, static_cast<int32_t>(V), 1, 0});
    sample_rows({mat(logits.data(), T, V), settings, evenly_spaced(T), token, sampled}, machine.ctx);
    LmHeadForward a;
    a.h = mat(h.data(), T, C), a.w = view, a.target = token;
    a.inv_temperature = temperature > 0 ? inverse_temperature(temperature) : 1;
    a.logprob = vec(learned.data(), T), a.lse = mat(lse.data(), T, 2);
    lm_head_forward(a, machine.ctx);
    EXPECT_TRUE(same_bits(sampled, learned)) << "temperature " << temperature;
  }
}

TEST(Sampler, GreedyTakesTheLowestOfTheLargest) {
  Machine machine(1);
  Floats row = normal_floats(9000, 3);
  row[8500] = row[4100] = row[7000] = 9;
  const Drawn got = draw(machine.ctx, row, {0, 5, 0.5f, 0.5f}, {0.0, 0.999});
  const auto want = reference::sampling_distribution(to_double(row), 1, 0, 1, 0);
  for (const int i : {0, 1}) {
    EXPECT_EQ(got.token[i], 4100);
    EXPECT_NEAR(got.logprob[i], std::log(want.p[4100]), 1e-5);
  }
}

TEST(Sampler, ExtremesOfUNeverPickATokenWithoutMass) {
  Machine machine(1);
  Floats row(9000, -500.0f);
  row[70] = 1, row[5000] = 0, row[8200] = 1;
  const std::vector<double> u = {0, 0x1p-53, 0.42, 1 - 0x1p-53};
  EXPECT_EQ(draw(machine.ctx, row, {}, u).token, (std::vector<int32_t>{70, 70, 70, 8200}));
  EXPECT_EQ(draw(machine.ctx, row, {1, 2, 1, 0}, {0.49, 0.51}).token, (std::vector<int32_t>{70, 8200}));
}

TEST(Sampler, RowDoesNotDependOnBatchThreadsOrInstructionSet) {
  const int64_t B = 37, V = 4500;
  const Floats logits = normal_floats(B * V, 6, 2);
  const auto u = evenly_spaced(B);
  const SamplingSettings kinds[] = {{}, {0.8f, 0, 1, 0}, {1, 30, 0.9f, 0}, {0, 0, 1, 0}, {1, 0, 0.95f, 0.01f}};
  std::vector<SamplingSettings> settings;
  for (int64_t b = 0; b < B; ++b) settings.push_back(kinds[b % 5]);
  const auto run = [&](Context& ctx, int64_t first, int64_t rows) {
    Floats copy(logits.begin() + first * V, logits.begin() + (first + rows) * V), logprob(rows), all;
    std::vector<int32_t> token(rows);
    sample_rows({mat(copy.data(), rows, V), std::span(settings).subspan(first, rows), std::span(u).subspan(first, rows),
                 token, logprob},
                ctx);
    for (int64_t b = 0; b < rows; ++b) all.insert(all.end(), {static_cast<float>(token[b]), logprob[b]});
    return all;
  };
  expect_rows_independent(B, 2, run);
  expect_same_bits_everywhere([&](Context& ctx) { return run(ctx, 0, B); });
}

TEST(Sampler, LogitThatIsNotFiniteNamesTheRow) {
  Machine machine(2);
  for (const float bad : {std::nanf(""), INFINITY}) {
    for (const float temperature : {0.0f, 1.0f}) {
      Floats logits = normal_floats(3 * 5000, 1);
      logits[2 * 5000 + 4500] = bad;
      const std::vector<SamplingSettings> settings(3, {temperature, 0, 1, 0});
      std::vector<int32_t> token(3);
      Floats logprob(3);
      expect_error(
          [&] {
            sample_rows({mat(logits.data(), 3, 5000), settings, evenly_spaced(3), token, logprob}, machine.ctx);
          },
          "sample_rows: row 2 has a logit that is not finite");
    }
  }
}

TEST(Sampler, EmptyBatchAndBadArguments) {
  Machine machine(1);
  Context& ctx = machine.ctx;
  sample_rows({mat(nullptr, 0, 5), {}, {}, {}, {}}, ctx);
  const Floats row = {1, 2, 3};
  expect_error([&] { draw(ctx, row, {-1, 0, 1, 0}, {0.5}); }, "temperature of row 0 is -1");
  expect_error([&] { draw(ctx, row, {1, -2, 1, 0}, {0.5}); }, "top_k of row 0 is -2");
  expect_error([&] { draw(ctx, row, {1, 0, 0, 0}, {0.5}); }, "top_p of row 0 is 0");
  expect_error([&] { draw(ctx, row, {1, 0, 1, 2}, {0.5}); }, "min_p of row 0 is 2");
  expect_error([&] { draw(ctx, row, {}, {0.5, 1.0}); }, "u of row 1 is 1.000000, want in [0, 1)");
  std::vector<int32_t> token(2);
  Floats logits = row, logprob(1);
  const SamplingSettings s;
  const double u = 0;
  expect_error(
      [&] {
        sample_rows({mat(logits.data(), 1, 3), {&s, 1}, {&u, 1}, token, logprob}, ctx);
      },
      "sample_rows: token has 2 entries, want 1");
  expect_error([&] { sample_rows({vec(logits.data(), 3), {&s, 1}, {&u, 1}, token, logprob}, ctx); }, "logits is (3)");
}

}  // namespace
}  // namespace fulmen::kernels
