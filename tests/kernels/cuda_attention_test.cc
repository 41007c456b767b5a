// Both attentions of kernels/cuda by emulation: the bits of the CPU backend with every kind of batch and cache, so
// decode, prefill in pieces and the learner's packed forward agree on the device as they do on the CPU.

#include <gtest/gtest.h>

#include <random>

#include "cuda_test_device.h"
#include "kernels/cuda/attention_plan.h"
#include "tests/kernels/properties.h"

namespace fulmen::kernels {
namespace {

void expect_cpu_bits(const Run& run) {
  Machine cpu(1);
  const Floats want = run(cpu.ctx);
  for (const bool reverse : {false, true}) {
    TestDevice device(cpu.pool);
    TestDevice::set_reverse(reverse);
    EXPECT_TRUE(same_bits(run(device.context()), want)) << (reverse ? "threads in reverse order" : "");
  }
  TestDevice::set_reverse(false);
}

std::vector<Segment> whole(const std::vector<int32_t>& lengths) {
  std::vector<Segment> s;
  int64_t row = 0;
  for (const int32_t n : lengths) s.push_back({row, n, 0, -1}), row += n;
  return s;
}
int64_t rows_of(const std::vector<Segment>& s) { return s.empty() ? 0 : s.back().row0 + s.back().rows; }

Floats decay(int H) {
  Floats slope(H), pw(H * (kLightningBlock + 1));
  lightning_slopes(H, 1, 4, slope.data());
  lightning_decay_table(slope.data(), H, pw.data());
  return pw;
}

Floats bf16_values(Floats v) {
  Machine cpu(1);
  round_to_bf16(mat(v.data(), 1, static_cast<int64_t>(v.size())), cpu.ctx);
  return v;
}

TEST(CudaLightning, ForwardAndBackwardGiveTheBitsOfTheCpu) {
  for (const auto& [H, D] : {std::pair{2, 16}, {1, 48}, {1, 64}}) {
    const std::vector<Segment> segments = whole({1, 63, 64, 65, 150});
    const int64_t T = rows_of(segments), W = H * 3 * D, O = H * D;
    const Floats qkv = normal_floats(T * W, 1), g = normal_floats(T * O, 2), pw = decay(H);
    expect_cpu_bits([&](Context& ctx) {
      Floats o(T * O), d(T * W);
      lightning_forward({mat(qkv.data(), T, W), mat(o.data(), T, O), pw.data(), H, D, segments, nullptr}, ctx);
      lightning_backward({mat(qkv.data(), T, W), mat(g.data(), T, O), mat(d.data(), T, W), pw.data(), H, D, segments},
                         ctx);
      o.insert(o.end(), d.begin(), d.end());
      return o;
    });
  }
}

// One sequence of `total` tokens cut at random, the pieces of three sequences side by side, decode rows among them.
template <class Step>
void in_pieces(int32_t total, uint32_t seed, const Step& step) {
  std::mt19937 gen(seed);
  std::vector<int32_t> done(3, 0);
  for (;;) {
    std::vector<Segment> segments;
    int64_t row = 0;
    for (int32_t s = 0; s < 3; ++s) {
      const int32_t left = total - 20 * s - done[s];
      if (left <= 0) continue;
      const int32_t most = gen() % 2 ? 1 : gen() % 90 + 1, n = std::min(left, most);
      segments.push_back({row, n, done[s], 2 - s});
      row += n;
    }
    if (segments.empty()) return;
    step(segments, done);
    for (const Segment& s : segments) done[2 - s.slot] += s.rows;
  }
}

TEST(CudaLightning, DecodeAndPrefillInPiecesGiveTheBitsOfTheCpusPackedForward) {
  const int H = 2, D = 32;
  const int64_t W = H * 3 * D, O = H * D;
  const Floats pw = decay(H);
  const Floats qkv = bf16_values(normal_floats(3 * 300 * W, 3));
  expect_cpu_bits([&](Context& ctx) {
    Floats out(3 * 300 * O);
    if (host_memory(ctx)) {  // the learner's forward on the CPU
      for (int s = 0; s < 3; ++s) {
        const std::vector<Segment> one = {{0, 200 - 20 * s, 0, -1}};
        const int64_t T = one[0].rows;
        lightning_forward({mat(&qkv[s * 300 * W], T, W), mat(&out[s * 300 * O], T, O), pw.data(), H, D, one, nullptr},
                          ctx);
      }
      return out;
    }
    Floats state(3 * H * D * D, NAN), k(3 * H * 64 * D, NAN), v = k;
    const LightningCache cache{state.data(), k.data(), v.data(), DType::kF32, 3};
    in_pieces(200, 5, [&](const std::vector<Segment>& segments, const std::vector<int32_t>& done) {
      const int64_t T = rows_of(segments);
      Floats x(T * W), o(T * O);
      for (const Segment& s : segments)
        std::copy_n(&qkv[((2 - s.slot) * 300 + done[2 - s.slot]) * W], s.rows * W, &x[s.row0 * W]);
      lightning_forward({mat(x.data(), T, W), mat(o.data(), T, O), pw.data(), H, D, segments, &cache}, ctx);
      for (const Segment& s : segments)
        std::copy_n(&o[s.row0 * O], s.rows * O, &out[((2 - s.slot) * 300 + done[2 - s.slot]) * O]);
    });
    return out;
  });
}

TEST(CudaLightning, RecurrentStepGivesTheBitsOfTheCpu) {
  const int H = 3, D = 32;
  const Floats qkv = normal_floats(4 * H * 3 * D, 4), pw = decay(H), state = normal_floats(4 * H * D * D, 5);
  expect_cpu_bits([&](Context& ctx) {
    Floats o(4 * H * D), s = state;
    lightning_recurrent_step({mat(qkv.data(), 4, H * 3 * D), mat(o.data(), 4, H * D), pw.data(), H, D, s.data()}, ctx);
    o.insert(o.end(), s.begin(), s.end());
    return o;
  });
}

TEST(CudaAttention, ForwardAndBackwardGiveTheBitsOfTheCpu) {
  for (const auto& [H, KV, D] : {std::tuple{4, 2, 16}, {3, 1, 32}, {6, 6, 48}, {17, 1, 16}}) {
    const std::vector<Segment> segments = whole({1, 64, 70, 130});
    const int64_t T = rows_of(segments), Q = H * D, K = KV * D;
    const Floats q = normal_floats(T * Q, 6), k = normal_floats(T * K, 7), v = normal_floats(T * K, 8);
    const Floats g = normal_floats(T * Q, 9);
    expect_cpu_bits([&](Context& ctx) {
      Floats o(T * Q), lse(T * H), dq(T * Q), dk(T * K), dv(T * K);
      const auto m = [&](const Floats& x, int64_t w) { return mat(x.data(), T, w); };
      attention_forward({m(q, Q), m(k, K), m(v, K), m(o, Q), m(lse, H), H, KV, D, segments, nullptr}, ctx);
      attention_backward(
          {m(q, Q), m(k, K), m(v, K), m(o, Q), m(lse, H), m(g, Q), m(dq, Q), m(dk, K), m(dv, K), H, KV, D, segments},
          ctx);
      for (const Floats* x : {&lse, &dq, &dk, &dv}) o.insert(o.end(), x->begin(), x->end());
      return o;
    });
  }
}

// Long sequences: several splits, merged in the block (prefill) and by a launch of its own (decode).
TEST(CudaAttention, DecodeAndPrefillInPiecesGiveTheBitsOfTheCpusPackedForward) {
  const int H = 2, KV = 1, D = 16;
  const int64_t total = 1060, Q = H * D, K = KV * D, pages = 40;
  const Floats q = normal_floats(total * Q, 10), k = bf16_values(normal_floats(total * K, 11));
  const Floats v = bf16_values(normal_floats(total * K, 12));
  expect_cpu_bits([&](Context& ctx) {
    Floats out(total * Q);
    if (host_memory(ctx)) {
      const std::vector<Segment> one = whole({static_cast<int32_t>(total)});
      attention_forward({mat(q.data(), total, Q),
                         mat(k.data(), total, K),
                         mat(v.data(), total, K),
                         mat(out.data(), total, Q),
                         {},
                         H,
                         KV,
                         D,
                         one,
                         nullptr},
                        ctx);
      return out;
    }
    Floats cache_k(pages * KV * 64 * D, NAN), cache_v = cache_k;
    std::vector<int32_t> table(2 * pages, -1);
    for (int64_t p = 0; p < pages; ++p) table[pages + p] = static_cast<int32_t>(pages - 1 - p);
    const PagedKvCache cache{cache_k.data(), cache_v.data(), DType::kF32, table.data(), pages, table.data()};
    for (int32_t done = 0; done < total;) {
      const int32_t n = done < 1020 ? 340 : done < 1027 ? 1 : static_cast<int32_t>(std::min<int64_t>(11, total - done));
      const std::vector<Segment> one = {{0, n, done, 1}};
      attention_forward({mat(&q[done * Q], n, Q),
                         mat(&k[done * K], n, K),
                         mat(&v[done * K], n, K),
                         mat(&out[done * Q], n, Q),
                         {},
                         H,
                         KV,
                         D,
                         one,
                         &cache},
                        ctx);
      done += n;
    }
    return out;
  });
}

TEST(CudaAttentionPlan, EveryRowIsInOneItemAndReachesItsSplits) {
  const std::vector<Segment> segments = {{0, 1, 5000, 0}, {1, 17, 1020, 1}, {18, 4, 0, 2}};
  for (const int group : {1, 3, 16, 40}) {
    const cuda::AttentionPlan plan = cuda::plan_attention(segments, group);
    std::vector<int> seen(22, 0);
    for (const cuda::AttentionItem& i : plan.items) {
      const Segment& s = segments[static_cast<size_t>(i.segment)];
      for (int r = 0; r < i.rows; ++r) ++seen[static_cast<size_t>(s.row0 + i.row + r)];
      EXPECT_EQ(i.splits, (s.pos0 + i.row + i.rows - 1) / kAttentionSplit + 1);
      EXPECT_LE(i.rows * group, plan.max_queries);
    }
    EXPECT_EQ(seen, std::vector<int>(22, 1)) << group;
    EXPECT_EQ(plan.max_splits, 5);
  }
}

TEST(CudaAttentionPlan, SingleRowsOfACacheHaveALaunchOfTheirOwn) {
  const std::vector<Segment> segments = {{0, 1, 5000, 0}, {1, 17, 20, 1}, {18, 1, 0, 2}};
  const cuda::ApartPlans apart = cuda::plan_apart(segments, 4, true);
  ASSERT_EQ(apart.decode.items.size(), 2u);
  EXPECT_EQ(apart.decode.max_queries, 4);
  EXPECT_EQ(apart.decode.max_splits, 5);
  EXPECT_EQ(apart.rest.max_splits, 1) << "short prefill pays for no splits of the long decode row";
  for (const cuda::AttentionItem& i : apart.rest.items) EXPECT_EQ(i.segment, 1);
  EXPECT_TRUE(cuda::plan_apart(segments, 4, false).decode.items.empty());
}

TEST(CudaAttentionPlan, EveryQueryIsInOneItemOfTheTensorCores) {
  const std::vector<Segment> segments = {{0, 1, 5000, 0}, {1, 17, 1020, 1}, {18, 4, 0, 2}};
  for (const int group : {1, 3, 16, 40, 100}) {
    const cuda::QueryPlan plan = cuda::plan_queries(segments, group);
    std::vector<int> seen(static_cast<size_t>(22 * group), 0);
    for (const auto* list : {&plan.few, &plan.many})
      for (const cuda::QueryItem& i : *list) {
        const Segment& s = segments[static_cast<size_t>(i.segment)];
        for (int f = i.first; f < i.first + i.count; ++f) ++seen[static_cast<size_t>(s.row0 * group + f)];
        EXPECT_EQ(i.splits, (s.pos0 + (i.first + i.count - 1) / group) / kAttentionSplit + 1);
        EXPECT_LE(i.count, list == &plan.few ? cuda::kFewQueries : cuda::kManyQueries);
      }
    EXPECT_EQ(seen, std::vector<int>(seen.size(), 1)) << group;
    EXPECT_EQ(plan.few_splits, group <= 16 ? 5 : 0);
  }
}

}  // namespace
}  // namespace fulmen::kernels
