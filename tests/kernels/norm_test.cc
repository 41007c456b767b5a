#include "kernels/norm.h"

#include "tests/kernels/properties.h"
#include "tests/reference/norm_ref.h"

namespace fulmen::kernels {
namespace {

// One problem for both norms. Rows are kLd floats wider than C, as in a view of a wider buffer.
struct Problem {
  int64_t T, C;
  bool gated;
  Floats x, g, w, dy;

  Problem(int64_t rows, int64_t columns, bool with_gate) : T(rows), C(columns), gated(with_gate) {
    x = normal_floats(T * C, 1, 2);
    g = normal_floats(T * C, 2);
    w = normal_floats(C, 3);
    dy = normal_floats(T * C, 4);
  }

  TensorRef rows_of(const Floats& v, int64_t first, int64_t rows) const { return mat(v.data() + first * C, rows, C); }

  Floats forward(Context& ctx, int64_t first, int64_t rows) const {
    Floats y(rows * C);
    const TensorRef in = rows_of(x, first, rows), out = mat(y.data(), rows, C);
    if (gated)
      gated_rmsnorm_forward({in, rows_of(g, first, rows), vec(w.data(), C), out}, ctx);
    else
      rmsnorm_forward({in, vec(w.data(), C), out}, ctx);
    return y;
  }

  struct Gradients {
    Floats dx, dg, dw;
  };
  void backward(Context& ctx, int64_t first, int64_t rows, Gradients& out) const {
    out.dx.resize(T * C), out.dg.resize(T * C), out.dw.resize(C);
    const TensorRef in = rows_of(x, first, rows), grad = rows_of(dy, first, rows), weight = vec(w.data(), C);
    const TensorRef dx = rows_of(out.dx, first, rows), dg = rows_of(out.dg, first, rows), dw = vec(out.dw.data(), C);
    if (gated)
      gated_rmsnorm_backward({grad, in, rows_of(g, first, rows), weight, dx, dg, dw}, ctx);
    else
      rmsnorm_backward({grad, in, weight, dx, dw}, ctx);
  }
  Gradients backward(Context& ctx) const {
    Gradients out;
    backward(ctx, 0, T, out);
    return out;
  }
  double eps() const { return gated ? 1e-6 : 1e-5; }
};

class RmsNorm : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Gate, RmsNorm, ::testing::Bool(), [](const auto& i) { return i.param ? "Gated" : "Plain"; });

TEST_P(RmsNorm, ForwardMatchesDoubleReference) {
  Machine machine(2);
  for (const int64_t C : {1, 7, 16, 63, 100, 515}) {
    const Problem p(5, C, GetParam());
    const Doubles want =
        reference::rmsnorm(to_double(p.x), p.gated ? to_double(p.g) : Doubles{}, to_double(p.w), p.eps());
    expect_near(p.forward(machine.ctx, 0, 5), want, 1e-5);
  }
}

TEST_P(RmsNorm, RowDoesNotDependOnBatchSize) {
  const Problem p(301, 77, GetParam());
  expect_rows_independent(p.T, p.C,
                          [&](Context& ctx, int64_t first, int64_t rows) { return p.forward(ctx, first, rows); });
  expect_rows_independent(p.T, p.C, [&](Context& ctx, int64_t first, int64_t rows) {
    Problem::Gradients out;
    p.backward(ctx, first, rows, out);
    return Floats(out.dx.begin() + first * p.C, out.dx.begin() + (first + rows) * p.C);
  });
}

TEST_P(RmsNorm, SameBitsForThreadsAndInstructionSets) {
  const Problem p(600, 333, GetParam());
  expect_same_bits_everywhere([&](Context& ctx) {
    const Problem::Gradients b = p.backward(ctx);
    return joined({p.forward(ctx, 0, p.T), b.dx, b.dg, b.dw});
  });
}

TEST_P(RmsNorm, BackwardMatchesFiniteDifferencesOfReference) {
  Machine machine(2);
  const Problem p(3, 19, GetParam());
  Doubles x = to_double(p.x), g = p.gated ? to_double(p.g) : Doubles{}, w = to_double(p.w);
  const Doubles dy = to_double(p.dy);
  const auto loss = [&] { return dot(dy, reference::rmsnorm(x, g, w, p.eps())); };
  const Problem::Gradients got = p.backward(machine.ctx);
  expect_near(got.dx, finite_difference(x, loss), 1e-4, 2e-6);
  expect_near(got.dw, finite_difference(w, loss), 1e-4, 2e-6);
  if (p.gated) expect_near(got.dg, finite_difference(g, loss), 1e-4, 2e-6);
}

TEST_P(RmsNorm, WeightGradientDoesNotDependOnMicroBatches) {
  Machine machine(2);
  const Problem p(531, 45, GetParam());
  const Problem::Gradients whole = p.backward(machine.ctx);
  for (const int64_t cut : {1, 255, 256, 257, 530}) {
    Problem::Gradients parts;
    p.backward(machine.ctx, 0, cut, parts);
    p.backward(machine.ctx, cut, p.T - cut, parts);
    EXPECT_TRUE(same_bits(parts.dw, whole.dw)) << "cut at " << cut;
    EXPECT_TRUE(same_bits(parts.dx, whole.dx)) << "cut at " << cut;
  }
}

TEST_P(RmsNorm, MayWorkInPlace) {
  Machine machine(2);
  Problem p(300, 37, GetParam());
  const Floats y = p.forward(machine.ctx, 0, p.T);
  const Problem::Gradients apart = p.backward(machine.ctx);
  const TensorRef x = mat(p.x.data(), p.T, p.C), dy = mat(p.dy.data(), p.T, p.C), w = vec(p.w.data(), p.C);
  const TensorRef g = mat(p.g.data(), p.T, p.C);
  Floats dw(p.C), dg(p.T * p.C);
  const TensorRef dw_ref = vec(dw.data(), p.C), dg_ref = mat(dg.data(), p.T, p.C);
  if (p.gated) {
    gated_rmsnorm_backward({dy, x, g, w, dy, dg_ref, dw_ref}, machine.ctx);
    gated_rmsnorm_forward({x, g, w, x}, machine.ctx);
  } else {
    rmsnorm_backward({dy, x, w, dy, dw_ref}, machine.ctx);
    rmsnorm_forward({x, w, x}, machine.ctx);
  }
  EXPECT_TRUE(same_bits(p.dy, apart.dx));
  EXPECT_TRUE(same_bits(dw, apart.dw));
  EXPECT_TRUE(same_bits(p.x, y));
}

TEST_P(RmsNorm, EmptyBatchWritesNothing) {
  Machine machine(2);
  const Problem p(2, 5, GetParam());
  EXPECT_TRUE(p.forward(machine.ctx, 0, 0).empty());
  Problem::Gradients out;
  p.backward(machine.ctx, 0, 0, out);
  EXPECT_TRUE(same_bits(out.dw, Floats(5, 0.0f)));
}

TEST(RmsNormShapes, WrongShapeIsNamed) {
  Machine machine(1);
  Floats v(100);
  const TensorRef x = mat(v.data(), 4, 5), w = vec(v.data(), 5), narrow = mat(v.data(), 4, 4);
  expect_error([&] { rmsnorm_forward({x, vec(v.data(), 4), x}, machine.ctx); }, "rmsnorm_forward: w is (4), want (5)");
  expect_error([&] { rmsnorm_forward({x, w, narrow}, machine.ctx); }, "y is (4, 4), want (4, 5)");
  expect_error([&] { rmsnorm_backward({x, x, w, narrow, w}, machine.ctx); }, "rmsnorm_backward: dx is (4, 4)");
  expect_error([&] { gated_rmsnorm_forward({x, narrow, w, x}, machine.ctx); }, "gated_rmsnorm_forward: g is (4, 4)");
  expect_error([&] { gated_rmsnorm_backward({x, x, x, w, x, {}, w}, machine.ctx); }, "dg is absent, want (4, 5)");
}

}  // namespace
}  // namespace fulmen::kernels
