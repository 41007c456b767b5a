#include "kernels/pointwise.h"

#include <limits>

#include "tests/kernels/properties.h"
#include "tests/reference/pointwise_ref.h"

namespace fulmen::kernels {
namespace {

TensorRef ref(const Floats& v, int64_t T, int64_t C, int64_t first = 0) { return mat(v.data() + first * C, T, C); }

// ---- embedding

TEST(Embedding, CopiesRowsAndSumsGradientsInRowOrder) {
  const int64_t V = 11, C = 70, T = 200;
  const Floats table = normal_floats(V * C, 1), dy = normal_floats(T * C, 2);
  std::vector<int32_t> tokens(T);
  for (int64_t t = 0; t < T; ++t) tokens[t] = static_cast<int32_t>(t * 7 % V);
  Machine machine(2);
  Floats y(T * C), dtable = normal_floats(V * C, 3), want = dtable;
  embedding_forward({tokens, ref(table, V, C), ref(y, T, C)}, machine.ctx);
  embedding_backward({tokens, ref(dy, T, C), ref(dtable, V, C)}, machine.ctx);
  for (int64_t t = 0; t < T; ++t)
    for (int64_t c = 0; c < C; ++c) {
      ASSERT_EQ(y[t * C + c], table[tokens[t] * C + c]);
      want[tokens[t] * C + c] += dy[t * C + c];
    }
  EXPECT_TRUE(same_bits(dtable, want));
}

TEST(Embedding, GradientDoesNotDependOnMicroBatchesOrThreads) {
  const int64_t V = 5, C = 333, T = 90, cut = 31;
  const Floats dy = normal_floats(T * C, 2);
  std::vector<int32_t> tokens(T);
  for (int64_t t = 0; t < T; ++t) tokens[t] = static_cast<int32_t>(t * t % V);
  const auto run = [&](Context& ctx, int64_t split) {
    Floats d(V * C);
    const std::span<const int32_t> all(tokens);
    embedding_backward({all.subspan(0, split), ref(dy, split, C), ref(d, V, C)}, ctx);
    embedding_backward({all.subspan(split), ref(dy, T - split, C, split), ref(d, V, C)}, ctx);
    return d;
  };
  expect_same_bits_everywhere([&](Context& ctx) { return run(ctx, T); });
  Machine machine(2);
  EXPECT_TRUE(same_bits(run(machine.ctx, cut), run(machine.ctx, T)));
}

TEST(Embedding, IdOutOfRangeNamesRowIdAndVocabulary) {
  Machine machine(1);
  Floats table(12), y(6);
  std::vector<int32_t> tokens = {3, 4};
  expect_error(
      [&] {
        embedding_forward({tokens, ref(table, 4, 3), ref(y, 2, 3)}, machine.ctx);
      },
      "embedding_forward: token of row 1 is 4, want 0..3 (V is 4)");
  tokens = {-1, 0};
  expect_error(
      [&] {
        embedding_backward({tokens, ref(y, 2, 3), ref(table, 4, 3)}, machine.ctx);
      },
      "embedding_backward: token of row 0 is -1");
  tokens = {1};
  expect_error([&] { embedding_forward({tokens, ref(table, 4, 3), ref(y, 2, 3)}, machine.ctx); }, "y is (2, 3)");
  embedding_forward({{}, ref(table, 4, 3), mat(nullptr, 0, 3)}, machine.ctx);
}

// ---- SiLU, SwiGLU

struct Activation {
  static constexpr int64_t T = 150, C = 333;
  Floats x = normal_floats(T * C, 1, 4), up = normal_floats(T * C, 2), dy = normal_floats(T * C, 3);
};

TEST(Silu, MatchesDoubleReferenceAlsoFarFromZero) {
  Machine machine(2);
  Floats x = {-1e30f, -200, -88.5f, -87, -20, -1, -1e-6f, 0, 1e-6f, 1, 20, 88, 200, 1e30f}, y(x.size());
  const auto n = static_cast<int64_t>(x.size());
  silu_forward({ref(x, 1, n), ref(y, 1, n)}, machine.ctx);
  expect_near(y, reference::silu(to_double(x)), 1e-6, 1e-7);
  EXPECT_EQ(y[7], 0);
}

TEST(Silu, RowDoesNotDependOnBatchSizeThreadsOrInstructionSet) {
  const Activation p;
  expect_same_bits_everywhere([&](Context& ctx) {
    Floats y(p.x.size()), dx(p.x.size());
    silu_forward({ref(p.x, p.T, p.C), ref(y, p.T, p.C)}, ctx);
    silu_backward({ref(p.dy, p.T, p.C), ref(p.x, p.T, p.C), ref(dx, p.T, p.C)}, ctx);
    return joined({y, dx});
  });
  expect_rows_independent(p.T, p.C, [&](Context& ctx, int64_t first, int64_t rows) {
    Floats y(rows * p.C);
    silu_forward({ref(p.x, rows, p.C, first), ref(y, rows, p.C)}, ctx);
    return y;
  });
}

TEST(Silu, BackwardMatchesFiniteDifferencesOfReference) {
  Machine machine(1);
  Floats x = normal_floats(40, 5, 3), dy = normal_floats(40, 6), dx(40);
  silu_backward({ref(dy, 2, 20), ref(x, 2, 20), ref(dx, 2, 20)}, machine.ctx);
  Doubles at = to_double(x);
  const Doubles d = to_double(dy);
  expect_near(dx, finite_difference(at, [&] { return dot(d, reference::silu(at)); }), 1e-5);
  silu_backward({ref(dy, 2, 20), ref(x, 2, 20), ref(dy, 2, 20)}, machine.ctx);  // dx may be dy
  EXPECT_TRUE(same_bits(dy, dx));
}

TEST(SwiGlu, MatchesReferenceForwardAndBackward) {
  Machine machine(1);
  const int64_t T = 3, F = 21;
  Floats gate = normal_floats(T * F, 1, 3), up = normal_floats(T * F, 2), dy = normal_floats(T * F, 3);
  Floats y(T * F), dgate(T * F), dup(T * F);
  swiglu_forward({ref(gate, T, F), ref(up, T, F), ref(y, T, F)}, machine.ctx);
  swiglu_backward({ref(dy, T, F), ref(gate, T, F), ref(up, T, F), ref(dgate, T, F), ref(dup, T, F)}, machine.ctx);
  Doubles g = to_double(gate), u = to_double(up);
  const Doubles d = to_double(dy);
  const auto loss = [&] { return dot(d, reference::swiglu(g, u)); };
  expect_near(y, reference::swiglu(g, u), 1e-5);
  expect_near(dgate, finite_difference(g, loss), 1e-5);
  expect_near(dup, finite_difference(u, loss), 1e-5);
  swiglu_forward({ref(gate, T, F), ref(up, T, F), ref(gate, T, F)}, machine.ctx);  // y may be gate
  EXPECT_TRUE(same_bits(gate, y));
}

TEST(SwiGlu, RowDoesNotDependOnBatchSizeThreadsOrInstructionSet) {
  const Activation p;
  expect_same_bits_everywhere([&](Context& ctx) {
    Floats y(p.x.size()), dg(p.x.size()), du(p.x.size());
    const TensorRef gate = ref(p.x, p.T, p.C), up = ref(p.up, p.T, p.C);
    swiglu_forward({gate, up, ref(y, p.T, p.C)}, ctx);
    swiglu_backward({ref(p.dy, p.T, p.C), gate, up, ref(dg, p.T, p.C), ref(du, p.T, p.C)}, ctx);
    return joined({y, dg, du});
  });
  expect_rows_independent(p.T, p.C, [&](Context& ctx, int64_t first, int64_t rows) {
    Floats y(rows * p.C);
    swiglu_forward({ref(p.x, rows, p.C, first), ref(p.up, rows, p.C, first), ref(y, rows, p.C)}, ctx);
    return y;
  });
}

// ---- residual, rounding

TEST(ScaledAdd, IsOneFmaPerElementInAnyPlace) {
  const Activation p;
  const float alpha = 3.5565588f, beta = 0.7f;
  Floats want(p.x.size());
  for (size_t i = 0; i < want.size(); ++i) want[i] = std::fma(alpha, p.x[i], beta * p.up[i]);
  Floats y(p.x.size()), x = p.x, r = p.up;
  expect_same_bits_everywhere([&](Context& ctx) {
    scaled_add({ref(p.x, p.T, p.C), ref(p.up, p.T, p.C), ref(y, p.T, p.C), alpha, beta}, ctx);
    return y;
  });
  EXPECT_TRUE(same_bits(y, want));
  Machine machine(2);
  scaled_add({ref(x, p.T, p.C), ref(p.up, p.T, p.C), ref(x, p.T, p.C), alpha, beta}, machine.ctx);
  scaled_add({ref(p.x, p.T, p.C), ref(r, p.T, p.C), ref(r, p.T, p.C), alpha, beta}, machine.ctx);
  EXPECT_TRUE(same_bits(x, want));
  EXPECT_TRUE(same_bits(r, want));
}

TEST(RoundToBf16, TakesTheNearestAndTiesGoToEven) {
  Machine machine(1);
  // 1 + 2^-8 lies half way between 1 and 1 + 2^-7; 1 + 3 * 2^-8 half way between 1 + 2^-7 and 1 + 2^-6.
  Floats x = {1.0f, 1.00390625f, 1.01171875f, 1.00390637f, -1.00390625f, 0.0f, 3.0e38f};
  const Floats want = {1.0f, 1.0f, 1.015625f, 1.0078125f, -1.0f, 0.0f, 3.00405527e38f};
  round_to_bf16(ref(x, 1, static_cast<int64_t>(x.size())), machine.ctx);
  EXPECT_TRUE(same_bits(x, want));
}

TEST(RoundToBf16, LeavesThePaddingOfRowsAlone) {
  Machine machine(1);
  Floats x(6, 1.0001f);
  round_to_bf16(mat(x.data(), 2, 2, 3), machine.ctx);
  EXPECT_TRUE(same_bits(x, {1, 1, 1.0001f, 1, 1, 1.0001f}));
}

// ---- RoPE

struct RopeProblem {
  int heads = 3, D = 44, rotary = 38;
  int64_t T = 40;
  std::vector<Segment> segments = {{0, 17, 0, -1}, {17, 1, 123456, -1}, {18, 22, 1000, -1}};
  Floats x = normal_floats(T * heads * D, 1);

  TensorRef view(const Floats& v, int64_t rows) const { return mat(v.data(), rows, int64_t{heads} * D); }
  Floats run(Context& ctx, Floats v, std::span<const Segment> where, bool inverse = false) const {
    const auto rows = static_cast<int64_t>(v.size()) / (heads * D);
    rope({view(v, rows), heads, D, rotary, 1e7, where, inverse}, ctx);
    return v;
  }
};

TEST(Rope, MatchesDoubleReferenceAndLeavesTheRestOfTheHead) {
  const RopeProblem p;
  Machine machine(2);
  std::vector<int64_t> position;
  for (const Segment& s : p.segments)
    for (int i = 0; i < s.rows; ++i) position.push_back(s.pos0 + i);
  expect_near(p.run(machine.ctx, p.x, p.segments),
              reference::rope(to_double(p.x), position, p.heads, p.D, p.rotary, 1e7), 1e-6, 1e-6);
}

TEST(Rope, RowDoesNotDependOnSegmentsThreadsOrInstructionSet) {
  const RopeProblem p;
  expect_same_bits_everywhere([&](Context& ctx) { return p.run(ctx, p.x, p.segments); });
  Machine machine(2);
  const Floats all = p.run(machine.ctx, p.x, p.segments);
  const int64_t width = int64_t{p.heads} * p.D;
  for (const auto& [row, position] : {std::pair<int64_t, int>{5, 5}, {17, 123456}, {39, 1021}}) {
    const Segment alone{0, 1, position, -1};
    const Floats got =
        p.run(machine.ctx, Floats(p.x.begin() + row * width, p.x.begin() + (row + 1) * width), {&alone, 1});
    EXPECT_TRUE(same_bits(got, Floats(all.begin() + row * width, all.begin() + (row + 1) * width))) << "row " << row;
  }
}

TEST(Rope, AnglesOfATableGiveTheSameBits) {
  const RopeProblem p;
  Machine machine(2);
  Floats angles(1010 * p.rotary);  // reaches into the last segment only
  rope_angles(1e7, p.rotary, 0, 7, angles.data());
  rope_angles(1e7, p.rotary, 7, 1010, angles.data() + 7 * p.rotary);
  for (const bool inverse : {false, true}) {
    Floats got = p.x;
    rope({p.view(got, p.T), p.heads, p.D, p.rotary, 1e7, p.segments, inverse, angles}, machine.ctx);
    EXPECT_TRUE(same_bits(got, p.run(machine.ctx, p.x, p.segments, inverse)));
  }
  angles[5 * p.rotary] += 0.5f;
  Floats got = p.x;
  rope({p.view(got, p.T), p.heads, p.D, p.rotary, 1e7, p.segments, false, angles}, machine.ctx);
  EXPECT_FALSE(same_bits(got, p.run(machine.ctx, p.x, p.segments))) << "the table is read";
  expect_error([&] { rope_angles(1e7, 7, 0, 1, angles.data()); }, "rotary is 7");
}

TEST(Rope, InverseIsTheTranspose) {
  const RopeProblem p;
  Machine machine(2);
  const Floats y = normal_floats(static_cast<int64_t>(p.x.size()), 9);
  const double forward = dot(to_double(p.run(machine.ctx, p.x, p.segments)), to_double(y));
  const double backward = dot(to_double(p.x), to_double(p.run(machine.ctx, y, p.segments, true)));
  EXPECT_NEAR(forward, backward, 1e-4);
  EXPECT_NE(p.run(machine.ctx, p.x, p.segments), p.run(machine.ctx, p.x, p.segments, true));
}

TEST(Rope, BadArgumentsAreNamed) {
  RopeProblem p;
  Machine machine(1);
  const Segment shorter{0, 39, 0, -1}, shifted{1, 39, 0, -1};
  expect_error([&] { p.run(machine.ctx, p.x, {&shorter, 1}); }, "rope: segments cover 39 rows, want 40");
  expect_error([&] { p.run(machine.ctx, p.x, {&shifted, 1}); }, "rope: segment 0 has row0 1");
  p.rotary = 46;
  expect_error([&] { p.run(machine.ctx, p.x, p.segments); }, "rotary 46, D 44");
}

// ---- all of them

TEST(Pointwise, EmptyBatchAndWrongShape) {
  Machine machine(1);
  Floats v(20);
  const TensorRef none = mat(nullptr, 0, 5), x = ref(v, 4, 5), narrow = ref(v, 4, 4);
  silu_forward({none, none}, machine.ctx);
  silu_backward({none, none, none}, machine.ctx);
  swiglu_forward({none, none, none}, machine.ctx);
  swiglu_backward({none, none, none, none, none}, machine.ctx);
  scaled_add({none, none, none}, machine.ctx);
  round_to_bf16(none, machine.ctx);
  rope({none, 1, 5, 2, 1e7, {}}, machine.ctx);
  expect_error([&] { silu_forward({x, narrow}, machine.ctx); }, "silu_forward: y is (4, 4), want (4, 5)");
  expect_error([&] { silu_backward({narrow, x, x}, machine.ctx); }, "silu_backward: dy is (4, 4)");
  expect_error([&] { swiglu_forward({x, narrow, x}, machine.ctx); }, "swiglu_forward: up is (4, 4)");
  expect_error([&] { swiglu_backward({x, x, x, x, {}}, machine.ctx); }, "swiglu_backward: dup is absent");
  expect_error([&] { scaled_add({x, x, narrow}, machine.ctx); }, "scaled_add: y is (4, 4)");
  expect_error([&] { round_to_bf16(vec(v.data(), 20), machine.ctx); }, "round_to_bf16: x is (20)");
}

}  // namespace
}  // namespace fulmen::kernels
