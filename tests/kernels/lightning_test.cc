#include "kernels/lightning.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/properties.h"
#include "tests/reference/lightning_ref.h"

namespace fulmen::kernels {
namespace {

using reference::DoubleRows;

constexpr int kDecays = kLightningBlock + 1;
const std::vector<int> kLengths = {1, 63, 64, 65, 200};

// One layer, some packed sequences.
struct Batch {
  Batch(int heads, int width, std::vector<int> lens, uint32_t seed, bool bf16 = false)
      : H(heads), D(width), lengths(std::move(lens)), slope(H), pw(H * kDecays) {
    for (int n : lengths) {
      segments.push_back({T, n, 0, -1});
      T += n;
    }
    qkv = bf16 ? normal_bf16(T * H * 3 * D, seed) : normal_floats(T * H * 3 * D, seed);
    lightning_slopes(H, 1, 8, slope.data());
    lightning_decay_table(slope.data(), H, pw.data());
  }

  // Column block `part` of head h for rows [row0, row0 + n).
  template <class F = float>
  std::vector<F> part(const Floats& x, int parts, int which, int h, int64_t row0, int n) const {
    std::vector<F> r;
    for (int64_t t = row0; t < row0 + n; ++t)
      for (int i = 0; i < D; ++i) r.push_back(x[(t * H + h) * parts * D + which * D + i]);
    return r;
  }

  Floats learner(Context& ctx) const {
    Floats o(T * H * D, NAN);
    lightning_forward({.qkv = mat(qkv.data(), T, H * 3 * D),
                       .o = mat(o.data(), T, H * D),
                       .pw = pw.data(),
                       .H = H,
                       .D = D,
                       .segments = segments},
                      ctx);
    return o;
  }

  Floats gradient(const Floats& g, Context& ctx) const {
    Floats d(qkv.size(), NAN);
    lightning_backward({.qkv = mat(qkv.data(), T, H * 3 * D),
                        .d_o = mat(g.data(), T, H * D),
                        .dqkv = mat(d.data(), T, H * 3 * D),
                        .pw = pw.data(),
                        .H = H,
                        .D = D,
                        .segments = segments},
                       ctx);
    return d;
  }

  int H, D;
  std::vector<int> lengths;
  Floats slope, pw, qkv;
  std::vector<Segment> segments;
  int64_t T = 0;
};

// Everything starts as NaN: a slot that is read before it was written shows.
struct Cache {
  Cache(int64_t slots, int H, int D, DType kv)
      : state(slots * H * D * D, NAN), k(slots * H * 64 * D * dtype_bytes(kv), 0xFF), v(k) {
    view = {state.data(), k.data(), v.data(), kv, slots};
  }
  Floats state;
  std::vector<unsigned char> k, v;
  LightningCache view;
};

// A worker that holds every sequence of `b` in a slot and advances a random live set by random pieces.
class Rollout {
 public:
  Rollout(const Batch& batch, DType kv, uint32_t seed)
      : b_(batch),
        cache_(batch.lengths.size() + 3, batch.H, batch.D, kv),
        done_(batch.lengths.size(), 0),
        gen_(seed),
        o_(batch.T * batch.H * batch.D, NAN) {}

  Floats run(Context& ctx) {
    while (step(ctx)) {
    }
    return o_;
  }
  Cache& cache() { return cache_; }
  int slot(size_t sequence) const { return static_cast<int>(done_.size() - sequence) + 1; }

 private:
  int uniform(int lo, int hi) { return std::uniform_int_distribution<int>(lo, hi)(gen_); }

  bool step(Context& ctx) {
    std::vector<Segment> segs;
    std::vector<int64_t> from;
    int64_t rows = 0;
    bool left = false;
    for (size_t s = 0; s < done_.size(); ++s) {
      const int rest = b_.lengths[s] - done_[s];
      left |= rest > 0;
      if (rest == 0 || uniform(0, 3) == 0) continue;
      const int n = uniform(0, 2) ? 1 : uniform(1, rest);
      segs.push_back({rows, n, done_[s], slot(s)});
      for (int i = 0; i < n; ++i) from.push_back(b_.segments[s].row0 + done_[s] + i);
      rows += n;
      done_[s] += n;
    }
    const int in = b_.H * 3 * b_.D, out = b_.H * b_.D;
    Floats x(rows * in), o(rows * out, NAN);
    for (int64_t r = 0; r < rows; ++r) std::memcpy(&x[r * in], &b_.qkv[from[r] * in], in * sizeof(float));
    lightning_forward({.qkv = mat(x.data(), rows, in),
                       .o = mat(o.data(), rows, out),
                       .pw = b_.pw.data(),
                       .H = b_.H,
                       .D = b_.D,
                       .segments = segs,
                       .cache = &cache_.view},
                      ctx);
    for (int64_t r = 0; r < rows; ++r) std::memcpy(&o_[from[r] * out], &o[r * out], out * sizeof(float));
    return left;
  }

  const Batch& b_;
  Cache cache_;
  std::vector<int> done_;
  std::mt19937 gen_;
  Floats o_;
};

void expect_near(const Floats& got, const DoubleRows& want, double tolerance, const std::string& what) {
  double scale = 0, worst = 0;
  for (size_t i = 0; i < want.size(); ++i) scale += want[i] * want[i];
  scale = std::sqrt(scale / want.size());
  for (size_t i = 0; i < want.size(); ++i) worst = std::fmax(worst, std::fabs(got[i] - want[i]));
  EXPECT_LT(worst, tolerance * std::fmax(scale, 1.0)) << what;
}

TEST(LightningSlopes, FollowTheAlibiRuleForAnyHeadCount) {
  float s[64];
  lightning_slopes(64, 0, 80, s);
  EXPECT_NEAR(s[0], 0.917, 1e-3);
  EXPECT_NEAR(s[63], 0.0039063, 1e-6);
  lightning_slopes(64, 78, 80, s);
  EXPECT_NEAR(s[0], 0.01162, 1e-5);
  lightning_slopes(6, 0, 1, s);  // 4 heads of the 4-head rule, then numbers 0 and 2 of the 8-head rule; a single layer
  const double want[6] = {0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125};
  for (int h = 0; h < 6; ++h) EXPECT_NEAR(s[h], want[h] * (1 + 1e-5), 1e-8) << h;
}

TEST(LightningForward, EqualsTheScalarChainBitForBit) {
  for (const char* isa : isas())
    for (int D : {16, 32, 64, 128, 208}) {
      Machine m(1, isa);
      const Batch b(2, D, D > 64 ? std::vector<int>{70, 129} : kLengths, 10 + D);
      const Floats o = b.learner(m.ctx);
      for (const Segment& s : b.segments)
        for (int h = 0; h < b.H; ++h) {
          Floats in[3];
          for (int i = 0; i < 3; ++i) in[i] = b.part(b.qkv, 3, i, h, s.row0, s.rows);
          const Floats want = reference::lightning_spec(in[0], in[1], in[2], s.rows, D, &b.pw[h * kDecays]);
          ASSERT_TRUE(same_bits(b.part(o, 1, 0, h, s.row0, s.rows), want)) << isa << " D " << D << " rows " << s.rows;
        }
    }
}

TEST(LightningForward, IsTheRecurrenceInDoublePrecision) {
  for (int D : {16, 64, 128}) {
    Machine m(1);
    const Batch b(3, D, kLengths, 20 + D);
    const Floats o = b.learner(m.ctx);
    for (const Segment& s : b.segments)
      for (int h = 0; h < b.H; ++h) {
        DoubleRows in[3];
        for (int i = 0; i < 3; ++i) in[i] = b.part<double>(b.qkv, 3, i, h, s.row0, s.rows);
        const DoubleRows want = reference::lightning_double(in[0], in[1], in[2], s.rows, D, b.slope[h]);
        expect_near(b.part(o, 1, 0, h, s.row0, s.rows), want, 3e-6, "D " + std::to_string(D));
      }
  }
}

TEST(LightningDecode, RowEqualsChunkedForwardBitForBit) {
  for (const char* isa : isas())
    for (const DType kv : {DType::kF32, DType::kBf16})
      for (uint32_t seed = 1; seed <= 4; ++seed) {
        const int D = seed % 2 ? 64 : 128;
        const Batch b(2, D, {1, 63, 64, 65, 200, 130, 17}, seed, kv == DType::kBf16);
        Machine one(1, isa), two(2, isa);
        const Floats packed = b.learner(one.ctx);
        ASSERT_TRUE(same_bits(packed, Rollout(b, kv, seed).run(seed % 2 ? two.ctx : one.ctx)))
            << isa << " seed " << seed;
      }
}

TEST(LightningForward, DoesNotDependOnThreadsPackingOrInstructionSet) {
  const Batch b(3, 128, {200, 1, 64, 90}, 5);
  Machine one(1, "avx2"), two(2);
  const Floats o = b.learner(one.ctx);
  EXPECT_TRUE(same_bits(o, b.learner(two.ctx)));
  EXPECT_TRUE(same_bits(o, b.learner(one.ctx)));

  Batch alone(3, 128, {90}, 5);  // the last sequence without the others
  const size_t at = b.segments[3].row0 * 3 * 3 * 128;
  alone.qkv.assign(b.qkv.begin() + at, b.qkv.end());
  EXPECT_TRUE(same_bits(alone.learner(two.ctx), Floats(o.begin() + at / 3, o.end())));
}

TEST(LightningForward, ReusedSlotNeedsNoClearing) {
  const Batch b(2, 64, {150, 80}, 6);
  Machine m(1);
  Rollout r(b, DType::kF32, 1);
  const Floats first = r.run(m.ctx);
  std::fill(r.cache().state.begin(), r.cache().state.end(), NAN);
  std::memset(r.cache().k.data(), 0xFF, r.cache().k.size());
  Floats o(80 * 2 * 64);
  const std::vector<Segment> again = {{0, 80, 0, r.slot(0)}};
  lightning_forward({.qkv = mat(&b.qkv[b.segments[1].row0 * 2 * 3 * 64], 80, 2 * 3 * 64),
                     .o = mat(o.data(), 80, 2 * 64),
                     .pw = b.pw.data(),
                     .H = 2,
                     .D = 64,
                     .segments = again,
                     .cache = &r.cache().view},
                    m.ctx);
  EXPECT_TRUE(same_bits(o, Floats(first.begin() + b.segments[1].row0 * 2 * 64, first.end())));
  for (float x : o) ASSERT_FALSE(std::isnan(x));
}

TEST(LightningForward, StateDoesNotDependOnHistory) {
  const Batch b(2, 64, {200, 129}, 7);
  Machine m(1);
  Rollout x(b, DType::kF32, 1), y(b, DType::kF32, 2);
  x.run(m.ctx);
  y.run(m.ctx);
  for (size_t s = 0; s < 2; ++s) {
    const size_t at = x.slot(s) * 2 * 64 * 64, n = 2 * 64 * 64;
    EXPECT_EQ(std::memcmp(&x.cache().state[at], &y.cache().state[at], n * sizeof(float)), 0);
  }
}

// The bit tests above have power only if another order of summation shows.
TEST(LightningForward, RecurrenceAndShiftedOrSmallerBlocksDiffer) {
  Machine m(1);
  const int D = 64, n = 200;
  const Batch b(1, D, {n}, 8);
  const Floats o = b.learner(m.ctx);
  Floats in[3];
  for (int i = 0; i < 3; ++i) in[i] = b.part(b.qkv, 3, i, 0, 0, n);
  Floats pw(kDecays);
  lightning_decay_table(b.slope.data(), 1, pw.data());
  EXPECT_FALSE(same_bits(o, reference::lightning_spec(in[0], in[1], in[2], n, D, pw.data(), 32)));

  Floats shifted[3];  // seven tokens of zeros in front move the block grid and nothing else
  for (int i = 0; i < 3; ++i) {
    shifted[i].assign(7 * D, 0.0f);
    shifted[i].insert(shifted[i].end(), in[i].begin(), in[i].end());
  }
  Floats moved = reference::lightning_spec(shifted[0], shifted[1], shifted[2], n + 7, D, pw.data());
  moved.erase(moved.begin(), moved.begin() + 7 * D);
  EXPECT_FALSE(same_bits(o, moved));

  Floats state(D * D, 0.0f), rec(n * D);
  for (int t = 0; t < n; ++t)
    lightning_recurrent_step({.qkv = mat(&b.qkv[t * 3 * D], 1, 3 * D),
                              .o = mat(&rec[t * D], 1, D),
                              .pw = b.pw.data(),
                              .H = 1,
                              .D = D,
                              .state = state.data()},
                             m.ctx);
  EXPECT_FALSE(same_bits(o, rec));
  expect_near(rec, DoubleRows(o.begin(), o.end()), 1e-4, "the recurrence is the same function");
}

TEST(LightningBackward, MatchesTheReferenceGradient) {
  for (const char* isa : isas())
    for (int D : {16, 64, 128}) {
      Machine m(1, isa);
      const Batch b(2, D, {65, 1, 64, 150}, 30 + D);
      const Floats g = normal_floats(b.T * b.H * D, 31), d = b.gradient(g, m.ctx);
      for (const Segment& s : b.segments)
        for (int h = 0; h < b.H; ++h) {
          DoubleRows in[3];
          for (int i = 0; i < 3; ++i) in[i] = b.part<double>(b.qkv, 3, i, h, s.row0, s.rows);
          const auto want = reference::lightning_gradient(
              in[0], in[1], in[2], b.part<double>(g, 1, 0, h, s.row0, s.rows), s.rows, D, b.slope[h]);
          expect_near(b.part(d, 3, 0, h, s.row0, s.rows), want.dq, 5e-6, "dq");
          expect_near(b.part(d, 3, 1, h, s.row0, s.rows), want.dk, 5e-6, "dk");
          expect_near(b.part(d, 3, 2, h, s.row0, s.rows), want.dv, 5e-6, "dv");
        }
    }
}

TEST(LightningBackward, MatchesFiniteDifferences) {
  Machine m(1);
  const int D = 16, n = 70;
  const Batch b(1, D, {n}, 40);
  const Floats g = normal_floats(n * D, 41), d = b.gradient(g, m.ctx);
  const auto loss = [&](const DoubleRows in[3]) {
    const DoubleRows o = reference::lightning_double(in[0], in[1], in[2], n, D, b.slope[0]);
    double sum = 0;
    for (size_t i = 0; i < o.size(); ++i) sum += o[i] * g[i];
    return sum;
  };
  DoubleRows in[3];
  for (int i = 0; i < 3; ++i) in[i] = b.part<double>(b.qkv, 3, i, 0, 0, n);
  for (int i = 0; i < 3; ++i)
    for (const int at : {0, 5 * D + 3, 63 * D + 7, 64 * D, 69 * D + 15}) {
      const double x = in[i][at], step = 1e-4;
      in[i][at] = x + step;
      const double up = loss(in);
      in[i][at] = x - step;
      const double down = loss(in);
      in[i][at] = x;
      const double got = d[(at / D) * 3 * D + i * D + at % D];
      EXPECT_NEAR(got, (up - down) / (2 * step), 1e-4 * (1 + std::fabs(got))) << i << " " << at;
    }
}

TEST(LightningBackward, DoesNotDependOnThreadsOrInstructionSet) {
  const Batch b(2, 128, {130, 64, 3}, 50);
  const Floats g = normal_floats(b.T * 2 * 128, 51);
  Machine one(1, "avx2"), two(2);
  const Floats d = b.gradient(g, one.ctx);
  EXPECT_TRUE(same_bits(d, b.gradient(g, two.ctx)));
  EXPECT_TRUE(same_bits(d, b.gradient(g, two.ctx)));
}

TEST(Lightning, EmptyBatchIsNothingToDo) {
  Machine m(1);
  lightning_forward({.H = 1, .D = 16}, m.ctx);
  lightning_backward({.H = 1, .D = 16}, m.ctx);
  lightning_recurrent_step({.H = 1, .D = 16}, m.ctx);
}

std::string error_of(const LightningForward& a, Context& ctx) {
  try {
    lightning_forward(a, ctx);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Lightning, WrongArgumentsAreNamed) {
  Machine m(1);
  const Batch b(2, 32, {5, 6}, 60);
  Floats o(b.T * 2 * 32);
  Cache cache(4, 2, 32, DType::kF32);
  const LightningForward good{.qkv = mat(b.qkv.data(), b.T, 2 * 3 * 32),
                              .o = mat(o.data(), b.T, 2 * 32),
                              .pw = b.pw.data(),
                              .H = 2,
                              .D = 32,
                              .segments = b.segments};
  const auto expect = [&](const char* word, auto change) {
    LightningForward a = good;
    std::vector<Segment> segs = b.segments;
    change(a, segs);
    a.segments = segs;
    EXPECT_NE(error_of(a, m.ctx).find(word), std::string::npos) << word << " not in: " << error_of(a, m.ctx);
  };
  expect("o is", [](auto& a, auto&) { a.o.dim[1] = 32; });
  expect("qkv is", [](auto& a, auto&) { a.H = 1; });
  expect("D is", [](auto& a, auto&) { a.D = 24; });
  expect("pw", [](auto& a, auto&) { a.pw = nullptr; });
  expect("segment 1 starts at row 6, want 5", [](auto&, auto& s) { s[1].row0 = 6; });
  expect("cover 5 rows, want 11", [](auto&, auto& s) { s.pop_back(); });
  expect("want 0: there is no cache", [](auto&, auto& s) { s[0].pos0 = 3; });
  expect("slot -1", [&](auto& a, auto&) { a.cache = &cache.view; });
  expect("a second time", [&](auto& a, auto& s) { a.cache = &cache.view, s[0].slot = s[1].slot = 2; });
}

}  // namespace
}  // namespace fulmen::kernels
