#include "kernels/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/properties.h"
#include "tests/reference/attention_ref.h"

namespace fulmen::kernels {
namespace {

const std::vector<int> kLengths = {1, 63, 64, 65, 200};

// The kernels' exp, operation by operation.
float kernel_exp(float x) {
  if (x < -87.0f) return 0;
  x = std::fmin(x, 88.0f);
  const float n = std::nearbyintf(x * 1.44269504088896341f);
  const float r = std::fmaf(-n, 1.42860682030941723212e-6f, std::fmaf(-n, 0.693145751953125f, x));
  float p = 1.9875691500e-4f;
  for (const float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = std::fmaf(p, r, c);
  return std::ldexp(std::fmaf(p, r * r, r + 1.0f), static_cast<int>(n));
}

struct Batch {
  Batch(int heads, int kv_heads, int width, std::vector<int> lens, uint32_t seed, bool bf16 = false)
      : H(heads), KV(kv_heads), D(width), lengths(std::move(lens)) {
    for (int n : lengths) {
      segments.push_back({T, n, 0, -1});
      T += n;
    }
    q = normal_floats(T * H * D, seed);
    for (float& x : q) x *= 1.5f;
    k = bf16 ? normal_bf16(T * KV * D, seed + 1000) : normal_floats(T * KV * D, seed + 1000);
    v = bf16 ? normal_bf16(T * KV * D, seed + 2000) : normal_floats(T * KV * D, seed + 2000);
  }

  template <class F = float>
  std::vector<F> head(const Floats& x, int heads, int h, const Segment& s) const {
    std::vector<F> r;
    for (int64_t t = s.row0; t < s.row0 + s.rows; ++t)
      for (int i = 0; i < D; ++i) r.push_back(x[(t * heads + h) * D + i]);
    return r;
  }

  AttentionForward args(Floats& o) const {
    o.assign(T * H * D, NAN);
    return {.q = mat(q.data(), T, H * D),
            .k = mat(k.data(), T, KV * D),
            .v = mat(v.data(), T, KV * D),
            .o = mat(o.data(), T, H * D),
            .H = H,
            .KV = KV,
            .D = D,
            .segments = segments};
  }

  Floats learner(Context& ctx, Floats* lse = nullptr) const {
    Floats o;
    AttentionForward a = args(o);
    if (lse) {
      lse->assign(T * H, NAN);
      a.lse = mat(lse->data(), T, H);
    }
    attention_forward(a, ctx);
    return o;
  }

  // dq, dk, dv one after another.
  Floats gradient(const Floats& g, Context& ctx) const {
    Floats lse, d(q.size() + 2 * k.size(), NAN);
    const Floats o = learner(ctx, &lse);
    attention_backward({.q = mat(q.data(), T, H * D),
                        .k = mat(k.data(), T, KV * D),
                        .v = mat(v.data(), T, KV * D),
                        .o = mat(o.data(), T, H * D),
                        .lse = mat(lse.data(), T, H),
                        .d_o = mat(g.data(), T, H * D),
                        .dq = mat(d.data(), T, H * D),
                        .dk = mat(d.data() + q.size(), T, KV * D),
                        .dv = mat(d.data() + q.size() + k.size(), T, KV * D),
                        .H = H,
                        .KV = KV,
                        .D = D,
                        .segments = segments},
                       ctx);
    return d;
  }

  int H, KV, D;
  std::vector<int> lengths;
  Floats q, k, v;
  std::vector<Segment> segments;
  int64_t T = 0;
};

// Pages in shuffled order, every byte 0xFF: a key that was never written is a NaN.
struct Cache {
  Cache(int64_t slots, int64_t pages_per_slot, const Batch& b, DType kv, uint32_t seed)
      : table(slots * pages_per_slot) {
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
    std::mt19937 gen(seed);
    std::shuffle(table.begin(), table.end(), gen);
    k.assign(table.size() * b.KV * 64 * b.D * dtype_bytes(kv), 0xFF);
    v = k;
    view = {k.data(), v.data(), kv, table.data(), pages_per_slot};
  }
  std::vector<int32_t> table;
  std::vector<unsigned char> k, v;
  PagedKvCache view;
};

class Rollout {
 public:
  Rollout(const Batch& batch, DType kv, uint32_t seed)
      : b_(batch),
        cache_(batch.lengths.size() + 2, *std::max_element(batch.lengths.begin(), batch.lengths.end()) / 64 + 1, batch,
               kv, seed),
        done_(batch.lengths.size(), 0),
        gen_(seed),
        o_(batch.q.size(), NAN) {}

  // Random live sets and random pieces; every sequence's last `decode` tokens come one by one.
  Floats run(Context& ctx, int decode) {
    while (step(ctx, decode)) {
    }
    return o_;
  }

 private:
  int uniform(int lo, int hi) { return std::uniform_int_distribution<int>(lo, hi)(gen_); }

  bool step(Context& ctx, int decode) {
    std::vector<Segment> segs;
    std::vector<int64_t> from;
    int64_t rows = 0;
    bool left = false;
    for (size_t s = 0; s < done_.size(); ++s) {
      const int rest = b_.lengths[s] - done_[s];
      left |= rest > 0;
      if (rest == 0 || uniform(0, 3) == 0) continue;
      const int n = rest <= decode ? 1 : uniform(1, rest - decode);
      segs.push_back({rows, n, done_[s], static_cast<int32_t>(done_.size() - s)});
      for (int i = 0; i < n; ++i) from.push_back(b_.segments[s].row0 + done_[s] + i);
      rows += n;
      done_[s] += n;
    }
    const Floats q = take(b_.q, b_.H, from), k = take(b_.k, b_.KV, from), v = take(b_.v, b_.KV, from);
    Floats o(q.size(), NAN);
    attention_forward({.q = mat(q.data(), rows, b_.H * b_.D),
                       .k = mat(k.data(), rows, b_.KV * b_.D),
                       .v = mat(v.data(), rows, b_.KV * b_.D),
                       .o = mat(o.data(), rows, b_.H * b_.D),
                       .H = b_.H,
                       .KV = b_.KV,
                       .D = b_.D,
                       .segments = segs,
                       .cache = &cache_.view},
                      ctx);
    const int64_t width = b_.H * b_.D;
    for (int64_t r = 0; r < rows; ++r) std::memcpy(&o_[from[r] * width], &o[r * width], width * sizeof(float));
    return left;
  }

  Floats take(const Floats& x, int heads, const std::vector<int64_t>& rows) const {
    const int64_t width = heads * b_.D;
    Floats r(rows.size() * width);
    for (size_t i = 0; i < rows.size(); ++i) std::memcpy(&r[i * width], &x[rows[i] * width], width * sizeof(float));
    return r;
  }

  const Batch& b_;
  Cache cache_;
  std::vector<int> done_;
  std::mt19937 gen_;
  Floats o_;
};

void expect_near(const Floats& got, const Doubles& want, double tolerance, const std::string& what) {
  double scale = 0, worst = 0;
  for (double x : want) scale += x * x;
  scale = std::fmax(std::sqrt(scale / want.size()), 0.1);
  for (size_t i = 0; i < want.size(); ++i) worst = std::fmax(worst, std::fabs(got[i] - want[i]));
  EXPECT_LT(worst, tolerance * scale) << what;
}

TEST(AttentionForward, EqualsTheScalarChainBitForBit) {
  for (const char* isa : isas())
    for (int D : {16, 64, 128, 208}) {
      Machine m(2, isa);
      const Batch b(6, 2, D, D > 64 ? std::vector<int>{70, 129} : kLengths, D);
      const Floats o = b.learner(m.ctx);
      for (const Segment& s : b.segments)
        for (int h = 0; h < b.H; ++h) {
          const Floats k = b.head(b.k, b.KV, h / 3, s), v = b.head(b.v, b.KV, h / 3, s);
          const Floats want = reference::attention_spec(b.head(b.q, b.H, h, s), k, v, s.rows, D, kernel_exp);
          ASSERT_TRUE(same_bits(b.head(o, b.H, h, s), want))
              << isa << " D " << D << " rows " << s.rows << " head " << h;
        }
    }
}

TEST(AttentionForward, SplitsOfALongContextEqualTheScalarChain) {
  Machine m(1);
  const Batch b(1, 1, 16, {2100}, 3);
  const Floats o = b.learner(m.ctx);
  const auto rows_equal = [&](int from, int to, int split) {
    const Floats want = reference::attention_spec(b.q, b.k, b.v, to, 16, kernel_exp, split, from);
    return std::memcmp(&o[from * 16], &want[from * 16], (to - from) * 16 * sizeof(float)) == 0;
  };
  for (const int border : {1024, 2048}) EXPECT_TRUE(rows_equal(border - 8, border + 24, 1024)) << border;
  EXPECT_FALSE(rows_equal(2040, 2060, 512));
}

TEST(AttentionForward, IsSoftmaxInDoublePrecision) {
  for (int D : {16, 32, 64, 128}) {
    Machine m(1);
    const Batch b(2, 1, D, kLengths, 20 + D);
    Floats lse;
    const Floats o = b.learner(m.ctx, &lse);
    for (const Segment& s : b.segments)
      for (int h = 0; h < b.H; ++h) {
        const auto want = reference::attention_double(b.head<double>(b.q, b.H, h, s), b.head<double>(b.k, 1, 0, s),
                                                      b.head<double>(b.v, 1, 0, s), s.rows, D);
        expect_near(b.head(o, b.H, h, s), want.o, 1e-5, "o");
        Floats l;
        for (int t = 0; t < s.rows; ++t) l.push_back(lse[(s.row0 + t) * b.H + h]);
        expect_near(l, want.lse, 1e-5, "lse");
      }
  }
}

TEST(AttentionDecode, RowEqualsPackedForwardBitForBit) {
  for (const char* isa : isas())
    for (const DType kv : {DType::kF32, DType::kBf16})
      for (uint32_t seed = 1; seed <= 4; ++seed) {
        const int KV = seed % 2 ? 1 : 2;
        const Batch b(4, KV, seed < 3 ? 64 : 32, {1, 63, 64, 65, 200, 130, 17}, seed, kv == DType::kBf16);
        Machine m(1 + seed % 2, isa);
        ASSERT_TRUE(same_bits(b.learner(m.ctx), Rollout(b, kv, seed).run(m.ctx, 70))) << isa << " seed " << seed;
      }
}

TEST(AttentionDecode, LongContextsMaySpreadTheirSplitsOverThreads) {
  for (const char* isa : isas())
    for (int threads : {1, 2, 5}) {
      const Batch b(2, 1, 32, {2100, 1030}, 7);
      Machine m(threads, isa);
      ASSERT_TRUE(same_bits(b.learner(m.ctx), Rollout(b, DType::kF32, threads).run(m.ctx, 12))) << isa << threads;
    }
}

TEST(AttentionForward, DoesNotDependOnThreadsPackingOrInstructionSet) {
  const Batch b(8, 2, 64, {200, 1, 64, 90}, 5);
  Machine one(1, "avx2"), two(2);
  Floats lse1, lse2;
  const Floats o = b.learner(one.ctx, &lse1);
  EXPECT_TRUE(same_bits(o, b.learner(two.ctx, &lse2)));
  EXPECT_TRUE(same_bits(lse1, lse2));
  EXPECT_TRUE(same_bits(o, b.learner(one.ctx)));

  Batch alone(8, 2, 64, {90}, 5);  // the last sequence without the others
  const size_t row = b.segments[3].row0 * 64;
  alone.q.assign(b.q.begin() + row * 8, b.q.end());
  alone.k.assign(b.k.begin() + row * 2, b.k.end());
  alone.v.assign(b.v.begin() + row * 2, b.v.end());
  EXPECT_TRUE(same_bits(alone.learner(two.ctx), Floats(o.begin() + row * 8, o.end())));
}

TEST(AttentionBackward, MatchesTheReferenceGradient) {
  for (const char* isa : isas())
    for (int D : {16, 64, 128}) {
      Machine m(1, isa);
      const Batch b(4, 2, D, {65, 1, 64, 150}, 30 + D);
      const Floats g = normal_floats(b.q.size(), 31), d = b.gradient(g, m.ctx);
      const Floats dq(d.begin(), d.begin() + b.q.size()), dk(d.begin() + b.q.size(), d.end() - b.v.size()),
          dv(d.end() - b.v.size(), d.end());
      for (const Segment& s : b.segments)
        for (int kv = 0; kv < b.KV; ++kv) {
          Doubles want_k(s.rows * D), want_v(s.rows * D);
          for (int h = kv * 2; h < kv * 2 + 2; ++h) {
            const auto w = reference::attention_gradient(
                b.head<double>(b.q, b.H, h, s), b.head<double>(b.k, b.KV, kv, s), b.head<double>(b.v, b.KV, kv, s),
                b.head<double>(g, b.H, h, s), s.rows, D);
            expect_near(b.head(dq, b.H, h, s), w.dq, 3e-5, "dq");
            for (size_t i = 0; i < want_k.size(); ++i) want_k[i] += w.dk[i], want_v[i] += w.dv[i];
          }
          expect_near(b.head(dk, b.KV, kv, s), want_k, 3e-5, "dk");
          expect_near(b.head(dv, b.KV, kv, s), want_v, 3e-5, "dv");
        }
    }
}

TEST(AttentionBackward, MatchesFiniteDifferences) {
  Machine m(1);
  const int D = 16, n = 70;
  const Batch b(1, 1, D, {n}, 40);
  const Floats g = normal_floats(n * D, 41), d = b.gradient(g, m.ctx);
  Doubles in[3] = {Doubles(b.q.begin(), b.q.end()), Doubles(b.k.begin(), b.k.end()), Doubles(b.v.begin(), b.v.end())};
  const auto loss = [&] {
    const Doubles o = reference::attention_double(in[0], in[1], in[2], n, D).o;
    double sum = 0;
    for (size_t i = 0; i < o.size(); ++i) sum += o[i] * g[i];
    return sum;
  };
  for (int i = 0; i < 3; ++i)
    for (const int at : {0, 5 * D + 3, 63 * D + 7, 64 * D, 69 * D + 15}) {
      const double x = in[i][at], step = 1e-4;
      in[i][at] = x + step;
      const double up = loss();
      in[i][at] = x - step;
      const double down = loss();
      in[i][at] = x;
      const double got = d[i * n * D + at];
      EXPECT_NEAR(got, (up - down) / (2 * step), 1e-4 * (1 + std::fabs(got))) << i << " " << at;
    }
}

TEST(AttentionBackward, DoesNotDependOnThreadsScheduleOrInstructionSet) {
  const Batch b(4, 2, 64, {130, 64, 3}, 50);  // one thread walks a head once, four threads split it in two passes
  const Floats g = normal_floats(b.q.size(), 51);
  Machine one(1, "avx2"), two(1), many(4);
  const Floats d = b.gradient(g, one.ctx);
  EXPECT_TRUE(same_bits(d, b.gradient(g, two.ctx)));
  EXPECT_TRUE(same_bits(d, b.gradient(g, many.ctx)));
  EXPECT_TRUE(same_bits(d, b.gradient(g, many.ctx)));
}

TEST(Attention, EmptyBatchIsNothingToDo) {
  Machine m(1);
  attention_forward({.H = 1, .KV = 1, .D = 16}, m.ctx);
  attention_backward({.H = 1, .KV = 1, .D = 16}, m.ctx);
}

TEST(Attention, WrongArgumentsAreNamed) {
  Machine m(1);
  const Batch b(4, 2, 32, {5, 70}, 60);
  Cache cache(3, 2, b, DType::kF32, 1);
  const auto expect = [&](const char* word, auto change) {
    Floats o;
    AttentionForward a = b.args(o);
    std::vector<Segment> segs = b.segments;
    change(a, segs);
    a.segments = segs;
    std::string got = "no error";
    try {
      attention_forward(a, m.ctx);
    } catch (const Error& e) {
      got = e.what();
    }
    EXPECT_NE(got.find(word), std::string::npos) << word << " not in: " << got;
  };
  const auto with_slots = [&](auto& a, auto& s) { a.cache = &cache.view, s[0].slot = 1, s[1].slot = 2; };
  expect("no error", [](auto&, auto&) {});
  expect("no error", with_slots);
  expect("k is", [](auto& a, auto&) { a.k.dim[1] = 32; });
  expect("v is", [](auto& a, auto&) { a.v.data = nullptr; });
  expect("o is", [](auto& a, auto&) { a.o.dim[0] = 3; });
  expect("lse is", [&](auto& a, auto&) { a.lse = mat(b.q.data(), b.T, 3); });
  expect("multiple of KV", [](auto& a, auto&) { a.KV = 3; });
  expect("D is", [](auto& a, auto&) { a.D = 272; });
  expect("segment 1 starts at row 6, want 5", [](auto&, auto& s) { s[1].row0 = 6; });
  expect("needs page 2", [&](auto& a, auto& s) { with_slots(a, s), s[1].pos0 = 70; });
  expect("a second time", [&](auto& a, auto& s) { with_slots(a, s), s[1].slot = 1; });
  cache.table[2 * 2 + 1] = -1;
  expect("slot 2 has no page 1", with_slots);
}

}  // namespace
}  // namespace fulmen::kernels
