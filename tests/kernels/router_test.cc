#include "kernels/router.h"

#include <limits>

#include "tests/kernels/properties.h"
#include "tests/reference/router_ref.h"

namespace fulmen::kernels {
namespace {

using Ints = std::vector<int32_t>;

// T tokens, each with top_k experts of E, and the sorted order of the pairs.
struct Problem {
  int64_t T, E, C;
  int top_k;
  Floats logits, weight;
  Ints expert, order, offset;

  Problem(int64_t tokens, int64_t experts, int k, int64_t columns) : T(tokens), E(experts), C(columns), top_k(k) {
    logits = normal_floats(T * E, 1, 2);
    weight.resize(T * top_k), expert.resize(T * top_k), order.resize(T * top_k), offset.resize(E + 1);
    Machine machine(2);
    route(machine.ctx, 0, T, expert, weight);
    dispatch({expert, static_cast<int>(E), order, offset}, machine.ctx);
  }
  void route(Context& ctx, int64_t first, int64_t rows, Ints& e, Floats& w) const {
    e.resize(rows * top_k), w.resize(rows * top_k);
    route_forward({mat(logits.data() + first * E, rows, E), top_k, e, mat(w.data(), rows, top_k)}, ctx);
  }
  int64_t pairs() const { return T * top_k; }
  TensorRef weights() const { return mat(weight.data(), T, top_k); }
  TensorRef sorted(const Floats& v) const { return mat(v.data(), pairs(), C); }
  TensorRef tokens(const Floats& v) const { return mat(v.data(), T, C); }
};

TEST(Route, MatchesRenormalisedSoftmaxOverAllExperts) {
  for (const auto& [E, k] : {std::pair{1, 1}, {5, 2}, {32, 2}, {65, 8}, {40, 40}}) {
    const Problem p(50, E, k, 1);
    const Doubles logits = to_double(p.logits);
    for (int64_t t = 0; t < p.T; ++t) {
      const reference::Route want = reference::route(&logits[t * E], E, k);
      for (int j = 0; j < k; ++j) {
        ASSERT_EQ(p.expert[t * k + j], want.expert[j]) << "token " << t << " slot " << j;
        ASSERT_NEAR(p.weight[t * k + j], want.weight[j], 1e-6);
      }
    }
  }
}

TEST(Route, TiesGoToTheLowerExpert) {
  Machine machine(1);
  const Floats logits = {1, 3, 0, 3, 3, -1};
  Ints expert(4);
  Floats weight(4);
  route_forward({mat(logits.data(), 1, 6), 4, expert, mat(weight.data(), 1, 4)}, machine.ctx);
  EXPECT_EQ(expert, (Ints{1, 3, 4, 0}));
  EXPECT_EQ(weight[0], weight[2]);
}

TEST(Route, NotANumberStillGivesDistinctExperts) {
  Machine machine(1);
  const Floats logits(4, std::numeric_limits<float>::quiet_NaN());
  Ints expert(3);
  Floats weight(3);
  route_forward({mat(logits.data(), 1, 4), 3, expert, mat(weight.data(), 1, 3)}, machine.ctx);
  EXPECT_EQ(expert, (Ints{0, 1, 2}));
}

TEST(Route, RowDoesNotDependOnBatchSizeThreadsOrInstructionSet) {
  const Problem p(700, 33, 5, 1);
  const auto run = [&](Context& ctx, int64_t first, int64_t rows) {
    Ints e;
    Floats w;
    p.route(ctx, first, rows, e, w);
    Floats both;
    for (int64_t i = 0; i < rows * p.top_k; ++i) both.insert(both.end(), {w[i], static_cast<float>(e[i])});
    return both;
  };
  expect_rows_independent(p.T, 2 * p.top_k, run);
  expect_same_bits_everywhere([&](Context& ctx) { return run(ctx, 0, p.T); });
}

TEST(Route, BackwardMatchesFiniteDifferencesOfReference) {
  const Problem p(6, 9, 3, 1);
  const Floats dweight = normal_floats(p.pairs(), 2);
  const Doubles dw = to_double(dweight);
  const auto run = [&](Context& ctx) {
    Floats d(p.T * p.E, 7.0f);
    route_backward({p.weights(), mat(dweight.data(), p.T, p.top_k), p.expert, p.top_k, mat(d.data(), p.T, p.E)}, ctx);
    return d;
  };
  Doubles logits = to_double(p.logits);
  const Doubles want = finite_difference(logits, [&] {
    double loss = 0;
    for (int64_t t = 0; t < p.T; ++t) {
      const int E = static_cast<int>(p.E);
      const auto r = reference::route(&logits[t * E], E, p.top_k, &p.expert[t * p.top_k]);
      for (int j = 0; j < p.top_k; ++j) loss += dw[t * p.top_k + j] * r.weight[j];
    }
    return loss;
  });
  Machine machine(1);
  expect_near(run(machine.ctx), want, 1e-5);
  expect_same_bits_everywhere(run);
}

TEST(Dispatch, IsAStableCountingSort) {
  const Ints expert = {2, 0, 2, 3, 0, 0};
  Ints order(6), offset(6);
  Machine machine(1);
  dispatch({expert, 5, order, offset}, machine.ctx);
  EXPECT_EQ(order, (Ints{1, 4, 5, 0, 2, 3}));
  EXPECT_EQ(offset, (Ints{0, 3, 3, 5, 6, 6}));
  Ints none(3, 9);
  dispatch({{}, 2, {}, none}, machine.ctx);
  EXPECT_EQ(none, (Ints{0, 0, 0}));
}

TEST(Gather, CopiesAndItsBackwardSumsInSlotOrder) {
  const Problem p(90, 7, 3, 37);
  const Floats x = normal_floats(p.T * p.C, 3), dy = normal_floats(p.pairs() * p.C, 4);
  Machine machine(2);
  Floats y(p.pairs() * p.C), dx(p.T * p.C), want(p.T * p.C);
  gather_rows({p.tokens(x), p.order, p.top_k, p.sorted(y)}, machine.ctx);
  gather_rows_backward({p.sorted(dy), p.order, p.top_k, p.tokens(dx)}, machine.ctx);
  Ints position(p.pairs());
  for (int64_t r = 0; r < p.pairs(); ++r) {
    position[p.order[r]] = static_cast<int32_t>(r);
    for (int64_t c = 0; c < p.C; ++c) ASSERT_EQ(y[r * p.C + c], x[p.order[r] / p.top_k * p.C + c]);
  }
  for (int64_t t = 0; t < p.T; ++t)
    for (int64_t c = 0; c < p.C; ++c) {
      float sum = dy[position[t * p.top_k] * p.C + c];
      for (int j = 1; j < p.top_k; ++j) sum += dy[position[t * p.top_k + j] * p.C + c];
      want[t * p.C + c] = sum;
    }
  EXPECT_TRUE(same_bits(dx, want));
}

TEST(Combine, MatchesReferenceForwardAndBackward) {
  const Problem p(5, 4, 2, 23);
  const Floats f = normal_floats(p.pairs() * p.C, 5), dy = normal_floats(p.T * p.C, 6);
  Machine machine(1);
  Floats y(p.T * p.C), df(p.pairs() * p.C), dweight(p.pairs());
  combine_forward({p.sorted(f), p.order, p.weights(), p.tokens(y)}, machine.ctx);
  combine_backward({p.tokens(dy), p.sorted(f), p.order, p.weights(), p.sorted(df), mat(dweight.data(), p.T, p.top_k)},
                   machine.ctx);
  Doubles rows = to_double(f), weight = to_double(p.weight);
  const Doubles d = to_double(dy);
  const auto forward = [&] { return reference::combine(rows, p.order, weight, p.top_k, p.C); };
  const auto loss = [&] { return dot(d, forward()); };
  expect_near(y, forward(), 1e-5);
  expect_near(df, finite_difference(rows, loss), 1e-5);
  expect_near(dweight, finite_difference(weight, loss), 1e-5, 1e-5);
}

TEST(Combine, SameBitsForThreadsAndInstructionSets) {
  const Problem p(300, 16, 4, 131);
  const Floats f = normal_floats(p.pairs() * p.C, 5), dy = normal_floats(p.T * p.C, 6);
  expect_same_bits_everywhere([&](Context& ctx) {
    Floats y(p.T * p.C), df(p.pairs() * p.C), dweight(p.pairs()), dx(p.T * p.C), x(p.pairs() * p.C);
    gather_rows({p.tokens(dy), p.order, p.top_k, p.sorted(x)}, ctx);
    combine_forward({p.sorted(f), p.order, p.weights(), p.tokens(y)}, ctx);
    combine_backward({p.tokens(dy), p.sorted(f), p.order, p.weights(), p.sorted(df), mat(dweight.data(), p.T, p.top_k)},
                     ctx);
    gather_rows_backward({p.sorted(df), p.order, p.top_k, p.tokens(dx)}, ctx);
    return joined({x, y, df, dweight, dx});
  });
}

// The batch decides where a pair is sorted to, but not the value of its token.
TEST(Combine, RowDoesNotDependOnTheOtherTokens) {
  const Problem p(64, 6, 3, 29);
  const Floats per_pair = normal_floats(p.pairs() * p.C, 5);  // expert output of pair (t, slot), unsorted
  const auto run = [&](Context& ctx, int64_t first, int64_t rows) {
    const int64_t n = rows * p.top_k;
    const std::span<const int32_t> expert(p.expert.data() + first * p.top_k, n);
    Ints order(n), offset(p.E + 1);
    dispatch({expert, static_cast<int>(p.E), order, offset}, ctx);
    Floats f(n * p.C), y(rows * p.C);
    for (int64_t r = 0; r < n; ++r)
      std::memcpy(&f[r * p.C], &per_pair[(first * p.top_k + order[r]) * p.C], p.C * sizeof(float));
    const TensorRef weight = mat(p.weight.data() + first * p.top_k, rows, p.top_k);
    combine_forward({mat(f.data(), n, p.C), order, weight, mat(y.data(), rows, p.C)}, ctx);
    return y;
  };
  expect_rows_independent(p.T, p.C, run);
}

TEST(Router, EmptyBatchAndBadArguments) {
  Machine machine(1);
  Context& ctx = machine.ctx;
  Floats v(64);
  Ints expert(6), order = {0, 1, 2, 3, 4, 6};
  const TensorRef none = mat(nullptr, 0, 4), x = mat(v.data(), 3, 4), pairs = mat(v.data(), 6, 4);
  const TensorRef weight = mat(v.data(), 3, 2);
  route_forward({none, 2, {}, mat(nullptr, 0, 2)}, ctx);
  route_backward({mat(nullptr, 0, 2), mat(nullptr, 0, 2), {}, 2, none}, ctx);
  gather_rows({none, {}, 2, none}, ctx);
  gather_rows_backward({none, {}, 2, none}, ctx);
  combine_forward({none, {}, mat(nullptr, 0, 2), none}, ctx);
  combine_backward({none, none, {}, mat(nullptr, 0, 2), none, mat(nullptr, 0, 2)}, ctx);

  expect_error([&] { route_forward({x, 5, expert, weight}, ctx); }, "route_forward: top_k is 5 of 4 experts");
  expect_error([&] { route_forward({x, 1, expert, weight}, ctx); }, "expert has 6 entries, want 3");
  expect_error([&] { route_forward({x, 2, expert, x}, ctx); }, "weight is (3, 4), want (3, 2)");
  expert[3] = 4;
  expect_error([&] { route_backward({weight, weight, expert, 2, x}, ctx); }, "expert[3] is 4, want 0..3");
  Ints offset(5), short_offset(4);
  expect_error([&] { dispatch({expert, 4, order, offset}, ctx); }, "dispatch: expert[3] is 4, want 0..3");
  expect_error([&] { dispatch({expert, 4, order, short_offset}, ctx); }, "offset has 4 entries, want 5");
  expect_error([&] { gather_rows({x, order, 2, pairs}, ctx); }, "gather_rows: order[5] is 6, want 0..5");
  order[5] = 5;
  expect_error([&] { gather_rows({x, order, 2, x}, ctx); }, "gather_rows: y is (3, 4), want (6, 4)");
  expect_error([&] { gather_rows_backward({x, order, 2, x}, ctx); }, "gather_rows_backward: dy is (3, 4)");
  expect_error([&] { combine_forward({x, order, weight, x}, ctx); }, "combine_forward: f is (3, 4), want (6, 4)");
  expect_error([&] { combine_backward({x, pairs, order, weight, pairs, x}, ctx); }, "dweight is (3, 4), want (3, 2)");
}

}  // namespace
}  // namespace fulmen::kernels
