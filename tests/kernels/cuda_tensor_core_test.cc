// Attention in bf16 on the tensor cores of kernels/cuda, by emulation: near the CPU's fp32 by what rounding to bf16 can
// do, and the same bits for decode, prefill in any pieces and the packed forward, whatever shares the batch, threads in
// either order.

#include <gtest/gtest.h>

#include <random>

#include "cuda_test_device.h"
#include "kernels/cuda/lightning_plan.h"
#include "tests/kernels/properties.h"

namespace fulmen::kernels {
namespace {

// Shapes of every test, and those of a model, for which only a GPU is quick enough.
template <class T>
std::vector<T> shapes(std::vector<T> all, std::initializer_list<T> of_a_model) {
  if (!TestDevice::kSmall) all.insert(all.end(), of_a_model);
  return all;
}

constexpr double kRounding = 1.0 / 256;  // of a value to bf16, relative

std::vector<Segment> whole(const std::vector<int32_t>& lengths) {
  std::vector<Segment> s;
  int64_t row = 0;
  for (const int32_t n : lengths) s.push_back({row, n, 0, -1}), row += n;
  return s;
}
int64_t rows_of(const std::vector<Segment>& s) { return s.empty() ? 0 : s.back().row0 + s.back().rows; }

Floats absolute(Floats v) {
  for (float& x : v) x = std::fabs(x);
  return v;
}

// run(ctx) on the device, threads forwards and backwards: the same bits, returned.
Floats on_device(const Run& run) {
  Machine cpu(1);
  Floats first;
  for (const bool reverse : {false, true}) {
    TestDevice device(cpu.pool);
    TestDevice::set_reverse(reverse);
    const Floats got = run(device.context());
    if (first.empty()) first = got;
    EXPECT_TRUE(same_bits(got, first)) << "threads in reverse order";
  }
  TestDevice::set_reverse(false);
  return first;
}

// |got - want| <= relative * size, element by element.
void expect_within(const Floats& got, const Floats& want, const Floats& size, double relative) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    ASSERT_NEAR(got[i], want[i], relative * static_cast<double>(size[i]) + 1e-6) << "element " << i;
}

// Rows of a few sequences cut at random, side by side in calls, decode rows among them: call(segments, done, rows).
template <class Step>
void in_pieces(const std::vector<int32_t>& totals, uint32_t seed, const Step& step) {
  std::mt19937 gen(seed);
  const auto n = static_cast<int32_t>(totals.size());
  std::vector<int32_t> done(totals.size(), 0);
  for (;;) {
    std::vector<Segment> segments;
    int64_t row = 0;
    for (int32_t s = 0; s < n; ++s) {
      const int32_t left = totals[static_cast<size_t>(s)] - done[static_cast<size_t>(s)];
      const uint32_t kind = gen() % 4, size = gen();
      if (left <= 0) continue;
      const int32_t most = static_cast<int32_t>(kind < 2 ? 1 : kind == 2 ? size % 16 + 1 : size % 100 + 1);
      segments.push_back({row, std::min(left, most), done[static_cast<size_t>(s)], n - 1 - s});
      row += segments.back().rows;
    }
    if (segments.empty()) return;
    step(segments, done);
    for (const Segment& s : segments) done[static_cast<size_t>(n - 1 - s.slot)] += s.rows;
  }
}

struct Lightning {
  int H, D;
  Floats pw;
  Lightning(int heads, int width) : H(heads), D(width), pw(static_cast<size_t>(heads) * (kLightningBlock + 1)) {
    Floats slope(static_cast<size_t>(H));
    lightning_slopes(H, 1, 4, slope.data());
    lightning_decay_table(slope.data(), H, pw.data());
  }
  int64_t in() const { return int64_t{3} * H * D; }
  int64_t out() const { return int64_t{1} * H * D; }

  Floats forward(const Floats& qkv, const std::vector<Segment>& segments, Context& ctx) const {
    const int64_t T = rows_of(segments);
    Floats o(static_cast<size_t>(T * out()));
    lightning_forward(
        {mat(qkv.data(), T, in()), mat(o.data(), T, out()), pw.data(), H, D, segments, nullptr, DType::kBf16}, ctx);
    return o;
  }
  Floats backward(const Floats& qkv, const Floats& g, const std::vector<Segment>& segments, Context& ctx) const {
    const int64_t T = rows_of(segments);
    Floats d(static_cast<size_t>(T * in()));
    lightning_backward({mat(qkv.data(), T, in()), mat(g.data(), T, out()), mat(d.data(), T, in()), pw.data(), H, D,
                        segments, DType::kBf16},
                       ctx);
    return d;
  }
};

// Every product that reaches an output was rounded once on its way (p, or the decayed v); with all inputs absolute the
// CPU sums the sizes of these products. hi + lo of the state and fp32 sums lose far less.
TEST(CudaTensorLightning, ForwardAndBackwardAreNearFp32) {
  for (const auto& [H, D] : shapes<std::pair<int, int>>({{2, 16}, {1, 48}, {1, 80}, {1, 144}}, {{8, 128}})) {
    const Lightning l(H, D);
    const std::vector<Segment> segments = whole({1, 16, 63, 64, 65, 150});
    const int64_t T = rows_of(segments);
    const Floats qkv = normal_bf16(T * l.in(), 1), g = normal_bf16(T * l.out(), 2);
    Machine cpu(1);
    expect_within(on_device([&](Context& ctx) { return l.forward(qkv, segments, ctx); }),
                  l.forward(qkv, segments, cpu.ctx), l.forward(absolute(qkv), segments, cpu.ctx), 1.02 * kRounding);
    expect_within(on_device([&](Context& ctx) { return l.backward(qkv, g, segments, ctx); }),
                  l.backward(qkv, g, segments, cpu.ctx), l.backward(absolute(qkv), absolute(g), segments, cpu.ctx),
                  1.02 * kRounding);
  }
}

TEST(CudaTensorLightning, DecodeAndPrefillInPiecesGiveTheBitsOfThePackedForward) {
  using Shape = std::tuple<int, int, uint32_t>;
  for (const auto& [H, D, seed] : shapes<Shape>({{2, 32, 3u}, {1, 80, 4u}, {1, 144, 5u}}, {{8, 128, 6u}})) {
    const Lightning l(H, D);
    std::vector<int32_t> totals = {200, 70, 139};
    if (H == 8) totals = {2500, 700, 1390};  // the packed forward walks the first in groups
    const std::vector<Segment> packed = whole(totals);
    const int64_t T = rows_of(packed);
    const Floats qkv = normal_bf16(T * l.in(), seed);
    const Floats want = on_device([&](Context& ctx) { return l.forward(qkv, packed, ctx); });
    const Floats got = on_device([&](Context& ctx) {
      Floats state(3 * H * D * D, NAN), out(want.size());
      std::vector<uint16_t> k(static_cast<size_t>(3 * H * 64 * D), 0xffff), v = k;
      const LightningCache cache{state.data(), k.data(), v.data(), DType::kBf16, 3};
      in_pieces(totals, seed, [&](const std::vector<Segment>& segments, const std::vector<int32_t>& done) {
        const int64_t rows = rows_of(segments);
        Floats x(static_cast<size_t>(rows * l.in())), o(static_cast<size_t>(rows * l.out()));
        const auto first = [&](const Segment& s) {
          return packed[static_cast<size_t>(2 - s.slot)].row0 + done[static_cast<size_t>(2 - s.slot)];
        };
        for (const Segment& s : segments)
          std::copy_n(&qkv[static_cast<size_t>(first(s) * l.in())], s.rows * l.in(),
                      &x[static_cast<size_t>(s.row0 * l.in())]);
        lightning_forward(
            {mat(x.data(), rows, l.in()), mat(o.data(), rows, l.out()), l.pw.data(), H, D, segments, &cache}, ctx);
        for (const Segment& s : segments)
          std::copy_n(&o[static_cast<size_t>(s.row0 * l.out())], s.rows * l.out(),
                      &out[static_cast<size_t>(first(s) * l.out())]);
      });
      return out;
    });
    EXPECT_TRUE(same_bits(got, want)) << "H " << H << " D " << D;
  }
}

TEST(CudaTensorLightning, ASequenceDoesNotDependOnItsPackOrItsStrides) {
  const Lightning l(1, 48);
  const std::vector<Segment> packed = whole({40, 130, 9});
  const int64_t T = rows_of(packed);
  const Floats qkv = normal_bf16(T * l.in(), 6), g = normal_bf16(T * l.out(), 7);
  const Floats all = on_device([&](Context& ctx) {
    return joined({l.forward(qkv, packed, ctx), l.backward(qkv, g, packed, ctx)});
  });
  const int64_t first = packed[1].row0, rows = packed[1].rows, ld = l.in() + 1;  // no row of fours
  const Floats alone = on_device([&](Context& ctx) {
    Floats x(static_cast<size_t>(rows * ld)), o(static_cast<size_t>(rows * l.out()));
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(&qkv[static_cast<size_t>((first + r) * l.in())], l.in(), &x[static_cast<size_t>(r * ld)]);
    lightning_forward({mat(x.data(), rows, l.in(), ld), mat(o.data(), rows, l.out()), l.pw.data(), 1, 48,
                       whole({static_cast<int32_t>(rows)}), nullptr, DType::kBf16},
                      ctx);
    const auto part = [&](const Floats& v, int64_t width) {
      return Floats(v.begin() + first * width, v.begin() + (first + rows) * width);
    };
    return joined({o, l.backward(part(qkv, l.in()), part(g, l.out()), whole({static_cast<int32_t>(rows)}), ctx)});
  });
  const Floats want =
      joined({Floats(all.begin() + first * l.out(), all.begin() + (first + rows) * l.out()),
              Floats(all.begin() + T * l.out() + first * l.in(), all.begin() + T * l.out() + (first + rows) * l.in())});
  EXPECT_TRUE(same_bits(alone, want));
}

// A long sequence alone is walked in groups at once; beside many others it is not. The same bits.
TEST(CudaTensorLightning, GroupsAtOnceGiveTheBitsOfOneWalk) {
  const Lightning l(1, 16);
  std::vector<int32_t> lengths = {1100};
  const Floats qkv = normal_bf16(5600 * l.in(), 18), g = normal_bf16(5600 * l.out(), 19);
  const auto run = [&](const std::vector<Segment>& segments) {
    return on_device([&](Context& ctx) {
      const Floats o = l.forward(qkv, segments, ctx), d = l.backward(qkv, g, segments, ctx);
      return joined({Floats(o.begin(), o.begin() + 1100 * l.out()), Floats(d.begin(), d.begin() + 1100 * l.in())});
    });
  };
  const std::vector<Segment> alone = whole(lengths);
  ASSERT_EQ(cuda::split_lightning(alone, 3, 100).walks.size(), 1u);
  lengths.insert(lengths.end(), 264, 17);  // not a few rows, which have a kernel of their own
  const std::vector<Segment> beside = whole(lengths);
  ASSERT_TRUE(cuda::split_lightning(beside, 1, 100).walks.empty());
  EXPECT_TRUE(same_bits(run(alone), run(beside)));
}

TEST(CudaTensorLightning, PartsOfSequencesCoverThemAndNameTheirStates) {
  const std::vector<Segment> segments = whole({1100, 5, 1024, 1023});
  const cuda::LightningSplit split = cuda::split_lightning(segments, 2, 10);
  ASSERT_EQ(split.walks.size(), 2u);
  EXPECT_EQ(split.walks[1].state, 2);
  EXPECT_EQ(split.states, 3);
  std::vector<int32_t> rows(4, 0), states;
  for (const cuda::LightningPart& p : split.parts) {
    const auto s = static_cast<size_t>(
        std::find_if(segments.begin(), segments.end(), [&](const Segment& x) { return x.row0 == p.segment.row0; }) -
        segments.begin());
    EXPECT_EQ(p.first, rows[s]);
    EXPECT_EQ(p.first % cuda::kGroupRows, 0);
    rows[s] += p.rows;
    if (p.first > 0) states.push_back(p.state);
  }
  EXPECT_EQ(rows, (std::vector<int32_t>{1100, 5, 1024, 1023}));
  EXPECT_EQ(states, (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(cuda::split_lightning(segments, 2, 3).walks.size(), 0u);  // 4 states would not fit
}

TEST(CudaTensorLightning, EveryPieceTakesOneKernelAndFilledBlocksTheAdvance) {
  const std::vector<Segment> segments = {{0, 1, 128, 0}, {1, 1, 0, 1}, {2, 16, 5, 2}, {18, 17, 64, 3}, {35, 1, 70, 4}};
  const cuda::LightningPlan plan = cuda::plan_lightning(segments, true);
  const auto slots = [](const std::vector<Segment>& list) {
    std::vector<int32_t> s;
    for (const Segment& x : list) s.push_back(x.slot);
    return s;
  };
  EXPECT_EQ(slots(plan.decode), (std::vector<int32_t>{0, 1, 4}));
  EXPECT_EQ(slots(plan.filled), (std::vector<int32_t>{0}));
  EXPECT_EQ(slots(plan.few), (std::vector<int32_t>{2}));
  EXPECT_EQ(slots(plan.pieces), (std::vector<int32_t>{3}));
  EXPECT_TRUE(cuda::plan_lightning(segments, false).decode.empty());
}

struct Softmax {
  int H, KV, D;
  int64_t q_width() const { return int64_t{1} * H * D; }
  int64_t k_width() const { return int64_t{1} * KV * D; }

  // o, then lse.
  Floats forward(const Floats& q, const Floats& k, const Floats& v, const std::vector<Segment>& segments,
                 const PagedKvCache* cache, Context& ctx) const {
    const int64_t T = rows_of(segments);
    Floats o(static_cast<size_t>(T * q_width())), lse(static_cast<size_t>(T * H));
    attention_forward({mat(q.data(), T, q_width()), mat(k.data(), T, k_width()), mat(v.data(), T, k_width()),
                       mat(o.data(), T, q_width()), mat(lse.data(), T, H), H, KV, D, segments, cache, DType::kBf16},
                      ctx);
    return joined({o, lse});
  }
};

// A weight is rounded once, relative to its size: o is within that of the weighted sum of |v|. Scores lose nothing: q
// is bf16 here. So the log-sum-exp only loses what fp32 does.
TEST(CudaTensorAttention, ForwardIsNearFp32) {
  for (const Softmax a :
       shapes<Softmax>({{4, 2, 16}, {3, 1, 32}, {2, 2, 80}, {17, 1, 16}, {1, 1, 144}}, {{16, 2, 128}})) {
    const std::vector<Segment> segments = whole({1, 64, 70, 130});
    const int64_t T = rows_of(segments);
    const Floats q = normal_bf16(T * a.q_width(), 8), k = normal_bf16(T * a.k_width(), 9);
    const Floats v = normal_bf16(T * a.k_width(), 10);
    Machine cpu(1);
    const Floats want = a.forward(q, k, v, segments, nullptr, cpu.ctx);
    Floats size = a.forward(q, k, absolute(v), segments, nullptr, cpu.ctx);
    for (size_t i = static_cast<size_t>(T * a.q_width()); i < size.size(); ++i) size[i] = 1e-3f;
    expect_within(on_device([&](Context& ctx) { return a.forward(q, k, v, segments, nullptr, ctx); }), want, size,
                  1.02 * kRounding);
  }
}

// One long sequence over several splits (decode merges them by a launch of its own) and a short one beside it.
TEST(CudaTensorAttention, DecodeAndPrefillInPiecesGiveTheBitsOfThePackedForward) {
  const Softmax a = TestDevice::kSmall ? Softmax{2, 1, 16} : Softmax{16, 2, 128};
  const std::vector<int32_t> totals = {1100, 150};
  const std::vector<Segment> packed = whole(totals);
  const int64_t T = rows_of(packed), pages = 20;
  const Floats q = normal_floats(T * a.q_width(), 11), k = normal_bf16(T * a.k_width(), 12);
  const Floats v = normal_bf16(T * a.k_width(), 13);
  const Floats want = on_device([&](Context& ctx) { return a.forward(q, k, v, packed, nullptr, ctx); });
  const Floats got = on_device([&](Context& ctx) {
    std::vector<uint16_t> cache_k(static_cast<size_t>(2 * pages * 64 * a.k_width()), 0xffff), cache_v = cache_k;
    std::vector<int32_t> table(static_cast<size_t>(2 * pages));
    for (int32_t p = 0; p < 2 * pages; ++p) table[static_cast<size_t>(p)] = static_cast<int32_t>(2 * pages - 1 - p);
    const PagedKvCache cache{cache_k.data(), cache_v.data(), DType::kBf16, table.data(), pages, table.data()};
    Floats out(want.size());
    int32_t done[2] = {0, 0};
    while (done[0] < totals[0] || done[1] < totals[1]) {
      std::vector<Segment> segments;
      int64_t rows = 0;
      for (const int s : {0, 1}) {
        const int32_t at = done[s], left = totals[static_cast<size_t>(s)] - at;
        const int32_t most = s == 0 ? (at < 960 ? 320 : at % 67 == 0 ? 40 : 1) : at % 3 == 0 ? 7 : at < 60 ? 50 : 1;
        if (left <= 0) continue;
        segments.push_back({rows, std::min(left, most), at, s});
        rows += segments.back().rows;
      }
      const auto gather = [&](const Floats& x, int64_t width) {
        Floats y;
        for (const Segment& s : segments) {
          const auto first = x.begin() + (packed[static_cast<size_t>(s.slot)].row0 + s.pos0) * width;
          y.insert(y.end(), first, first + s.rows * width);
        }
        return y;
      };
      const Floats o =
          a.forward(gather(q, a.q_width()), gather(k, a.k_width()), gather(v, a.k_width()), segments, &cache, ctx);
      for (const Segment& s : segments) {
        const int64_t to = packed[static_cast<size_t>(s.slot)].row0 + s.pos0;
        std::copy_n(o.begin() + s.row0 * a.q_width(), s.rows * a.q_width(), out.begin() + to * a.q_width());
        std::copy_n(o.begin() + rows * a.q_width() + s.row0 * a.H, s.rows * a.H,
                    out.begin() + T * a.q_width() + to * a.H);
        done[s.slot] += s.rows;
      }
    }
    return out;
  });
  EXPECT_TRUE(same_bits(got, want));
}

// The gradient in double, one head of queries and keys of one sequence, with the size of every value that is rounded on
// the way to an output: p or ds times what it meets, and what o, a sum of rounded p, puts into ds by way of delta.
struct Gradient {
  Doubles value, size;  // dq, dk, dv one after the other
};
Gradient reference_gradient(const Softmax& a, const Floats& q, const Floats& k, const Floats& v, const Floats& g,
                            int32_t n) {
  const int64_t Q = a.q_width(), K = a.k_width(), D = a.D, group = a.H / a.KV;
  Gradient r{Doubles(static_cast<size_t>(n * (Q + 2 * K))), {}};
  r.size = r.value;
  const double scale = 1 / std::sqrt(static_cast<double>(D));
  const auto add = [&](int64_t at, double weight, double size, float x) {
    r.value[static_cast<size_t>(at)] += weight * x;
    r.size[static_cast<size_t>(at)] += size * std::abs(x);
  };
  for (int64_t t = 0; t < n; ++t)
    for (int64_t h = 0; h < a.H; ++h) {
      const int64_t qt = t * Q + h * D, head = h / group * D;
      Doubles p(static_cast<size_t>(t + 1)), dp = p;
      double sum = 0, delta = 0, delta_size = 0;
      for (int64_t j = 0; j <= t; ++j) {
        double s = 0, d = 0;
        for (int64_t x = 0; x < D; ++x) {
          s += static_cast<double>(q[static_cast<size_t>(qt + x)]) * k[static_cast<size_t>(j * K + head + x)];
          d += static_cast<double>(g[static_cast<size_t>(qt + x)]) * v[static_cast<size_t>(j * K + head + x)];
        }
        sum += p[static_cast<size_t>(j)] = std::exp(s * scale);
        dp[static_cast<size_t>(j)] = d;
      }
      for (size_t j = 0; j < p.size(); ++j) {
        delta += (p[j] /= sum) * dp[j];
        for (int64_t x = 0; x < D; ++x)
          delta_size += p[j] * std::abs(static_cast<double>(g[static_cast<size_t>(qt + x)]) *
                                        v[j * static_cast<size_t>(K) + static_cast<size_t>(head + x)]);
      }
      for (int64_t j = 0; j <= t; ++j)
        for (int64_t x = 0; x < D; ++x) {
          const double w = p[static_cast<size_t>(j)], ds = w * (dp[static_cast<size_t>(j)] - delta) * scale;
          const double size = std::abs(ds) + w * delta_size * scale;
          add(qt + x, ds, size, k[static_cast<size_t>(j * K + head + x)]);
          add(n * Q + j * K + head + x, ds, size, q[static_cast<size_t>(qt + x)]);
          add(n * (Q + K) + j * K + head + x, w, w, g[static_cast<size_t>(qt + x)]);
        }
    }
  return r;
}

TEST(CudaTensorAttention, BackwardIsNearTheReferenceAndASequenceDoesNotDependOnItsPack) {
  for (const Softmax a : shapes<Softmax>({{4, 2, 16}, {3, 1, 32}, {1, 1, 80}, {17, 1, 16}}, {{8, 1, 128}})) {
    const std::vector<Segment> segments = whole({5, 130, 64});
    const int64_t T = rows_of(segments), Q = a.q_width(), K = a.k_width();
    const Floats q = normal_bf16(T * Q, 14), k = normal_bf16(T * K, 15), v = normal_bf16(T * K, 16);
    const Floats g = normal_bf16(T * Q, 17);
    const auto part = [](const Floats& x, const Segment& s, int64_t width) {
      return Floats(x.begin() + s.row0 * width, x.begin() + (s.row0 + s.rows) * width);
    };
    const auto run = [&](const Floats& q1, const Floats& k1, const Floats& v1, const Floats& g1,
                         const std::vector<Segment>& list, Context& ctx) {
      const int64_t n = rows_of(list);
      const Floats o = a.forward(q1, k1, v1, list, nullptr, ctx);
      Floats dq(static_cast<size_t>(n * Q)), dk(static_cast<size_t>(n * K)), dv = dk;
      const float* lse = o.data() + n * Q;
      attention_backward({mat(q1.data(), n, Q), mat(k1.data(), n, K), mat(v1.data(), n, K), mat(o.data(), n, Q),
                          mat(lse, n, a.H), mat(g1.data(), n, Q), mat(dq.data(), n, Q), mat(dk.data(), n, K),
                          mat(dv.data(), n, K), a.H, a.KV, a.D, list, DType::kBf16},
                         ctx);
      return joined({dq, dk, dv});
    };
    const Floats all = on_device([&](Context& ctx) { return run(q, k, v, g, segments, ctx); });
    for (const Segment& s : segments) {
      const Floats q1 = part(q, s, Q), k1 = part(k, s, K), v1 = part(v, s, K), g1 = part(g, s, Q);
      const Floats alone = on_device([&](Context& ctx) { return run(q1, k1, v1, g1, whole({s.rows}), ctx); });
      const Floats dk(all.begin() + T * Q, all.begin() + T * (Q + K)), dv(all.begin() + T * (Q + K), all.end());
      EXPECT_TRUE(same_bits(alone, joined({part(all, s, Q), part(dk, s, K), part(dv, s, K)})));
      const Gradient want = reference_gradient(a, q1, k1, v1, g1, s.rows);
      for (size_t i = 0; i < alone.size(); ++i)
        ASSERT_NEAR(alone[i], want.value[i], 1.02 * kRounding * want.size[i] + 1e-5) << i;
    }
  }
}

}  // namespace
}  // namespace fulmen::kernels
