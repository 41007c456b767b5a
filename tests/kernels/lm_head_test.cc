#include "kernels/lm_head.h"

#include <cstdlib>
#include <memory>

#include "tests/kernels/properties.h"
#include "tests/reference/lm_head_ref.h"

namespace fulmen::kernels {
namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};

// A head with packed weights, T rows of h, targets with gaps, and incoming gradients.
struct Problem {
  int64_t T, C, V;
  float inv_temperature = 1 / 0.8f;
  Floats h, w, dlogprob, dentropy;
  std::vector<uint16_t> w_bf16;
  std::vector<int32_t> target;
  std::unique_ptr<void, Free> packed;
  PackedWeight view;
  TensorRef w_rows;

  Problem(int64_t rows, int64_t columns, int64_t vocabulary, DType dtype = DType::kF32)
      : T(rows), C(columns), V(vocabulary) {
    h = normal_floats(T * C, 1), w = normal_floats(V * C, 2);
    dlogprob = normal_floats(T, 3), dentropy = normal_floats(T, 4);
    for (int64_t t = 0; t < T; ++t) target.push_back(t % 4 == 3 ? -1 : static_cast<int32_t>((t * 7919 + V - 1) % V));
    w_rows = mat(w.data(), V, C);
    if (dtype == DType::kBf16) round_weights();
    packed.reset(std::aligned_alloc(64, (packed_bytes(V, C, dtype) + 63) / 64 * 64));
    Machine machine(2);
    pack_weight(mat(w.data(), V, C), dtype, packed.get(), machine.ctx);
    view = {packed.get(), dtype, V, C};
  }
  void round_weights() {
    for (float& f : w) {
      uint32_t bits;
      std::memcpy(&bits, &f, 4);
      w_bf16.push_back(static_cast<uint16_t>(bits >> 16));
      bits &= 0xffff0000u;
      std::memcpy(&f, &bits, 4);
    }
    w_rows.data = w_bf16.data();
    w_rows.dtype = DType::kBf16;
  }

  struct Out {
    Floats logprob, entropy, lse, dh, dw;
  };
  void forward(Context& ctx, int64_t first, int64_t rows, Out& out, bool with_entropy = true) const {
    out.logprob.resize(T), out.entropy.resize(T), out.lse.resize(2 * T);
    LmHeadForward a;
    a.h = mat(h.data() + first * C, rows, C), a.w = view, a.inv_temperature = inv_temperature;
    a.target = std::span(target).subspan(first, rows);
    a.logprob = vec(out.logprob.data() + first, rows), a.lse = mat(out.lse.data() + 2 * first, rows, 2);
    if (with_entropy) a.entropy = vec(out.entropy.data() + first, rows);
    lm_head_forward(a, ctx);
  }
  void backward(Context& ctx, int64_t first, int64_t rows, Out& out, bool with_entropy = true) const {
    out.dh.resize(T * C), out.dw.resize(V * C);
    LmHeadBackward a;
    a.h = mat(h.data() + first * C, rows, C), a.w = view, a.w_rows = w_rows, a.inv_temperature = inv_temperature;
    a.target = std::span(target).subspan(first, rows);
    a.lse = mat(out.lse.data() + 2 * first, rows, 2), a.dlogprob = vec(dlogprob.data() + first, rows);
    if (with_entropy)
      a.entropy = vec(out.entropy.data() + first, rows), a.dentropy = vec(dentropy.data() + first, rows);
    a.dh = mat(out.dh.data() + first * C, rows, C), a.dw = mat(out.dw.data(), V, C);
    lm_head_backward(a, ctx);
  }
  Out both(Context& ctx) const {
    Out out;
    forward(ctx, 0, T, out);
    backward(ctx, 0, T, out);
    return out;
  }
  // dlogprob . logprob + dentropy . entropy of the reference
  double reference_loss(const Doubles& at_h, const Doubles& at_w) const {
    double loss = 0;
    for (int64_t t = 0; t < T; ++t) {
      const auto row = reference::head_row(&at_h[t * C], at_w, C, target[t], inv_temperature);
      loss += dlogprob[t] * row.logprob + dentropy[t] * row.entropy;
    }
    return loss;
  }
};

TEST(LmHead, ForwardMatchesDoubleReference) {
  Machine machine(2);
  for (const int64_t V : {1, 5, 33, 4095, 4097, 9001}) {
    for (const DType dtype : {DType::kF32, DType::kBf16}) {
      const Problem p(9, 13, V, dtype);
      Problem::Out out;
      p.forward(machine.ctx, 0, p.T, out);
      const Doubles h = to_double(p.h), w = to_double(p.w);
      for (int64_t t = 0; t < p.T; ++t) {
        const auto want = reference::head_row(&h[t * p.C], w, p.C, p.target[t], p.inv_temperature);
        EXPECT_NEAR(out.logprob[t], want.logprob, 2e-5) << "row " << t << ", V " << V;
        EXPECT_NEAR(out.entropy[t], want.entropy, 2e-5) << "row " << t << ", V " << V;
      }
    }
  }
}

TEST(LmHead, RowDoesNotDependOnBatchSize) {
  const Problem p(300, 9, 4200);
  expect_rows_independent(p.T, 4, [&](Context& ctx, int64_t first, int64_t rows) {
    Problem::Out out;
    p.forward(ctx, first, rows, out);
    Floats all;
    for (int64_t t = first; t < first + rows; ++t)
      all.insert(all.end(), {out.logprob[t], out.entropy[t], out.lse[2 * t], out.lse[2 * t + 1]});
    return all;
  });
  expect_rows_independent(p.T, p.C, [&](Context& ctx, int64_t first, int64_t rows) {
    Problem::Out out;
    p.forward(ctx, first, rows, out);
    p.backward(ctx, first, rows, out);
    return Floats(out.dh.begin() + first * p.C, out.dh.begin() + (first + rows) * p.C);
  });
}

TEST(LmHead, SameBitsForThreadsAndInstructionSets) {
  const Problem p(40, 21, 8200);
  expect_same_bits_everywhere([&](Context& ctx) {
    const Problem::Out out = p.both(ctx);
    return joined({out.logprob, out.entropy, out.lse, out.dh, out.dw});
  });
}

TEST(LmHead, LogprobDoesNotDependOnAskingForEntropy) {
  Machine machine(2);
  const Problem p(20, 16, 5000);
  Problem::Out with, without;
  p.forward(machine.ctx, 0, p.T, with, true);
  p.forward(machine.ctx, 0, p.T, without, false);
  EXPECT_TRUE(same_bits(with.logprob, without.logprob));
  EXPECT_TRUE(same_bits(with.lse, without.lse));
}

TEST(LmHead, BackwardMatchesFiniteDifferencesOfReference) {
  Machine machine(2);
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const Problem p(6, 5, 37, dtype);
    const Problem::Out out = p.both(machine.ctx);
    Doubles h = to_double(p.h), w = to_double(p.w);
    const auto loss = [&] { return p.reference_loss(h, w); };
    expect_near(out.dh, finite_difference(h, loss), 1e-4, 1e-5);
    expect_near(out.dw, finite_difference(w, loss), 1e-4, 1e-5);
  }
}

TEST(LmHead, BackwardMatchesFiniteDifferencesAcrossChunks) {
  Machine machine(2);
  const Problem p(3, 2, 4100);
  const Problem::Out out = p.both(machine.ctx);
  Doubles h = to_double(p.h), w = to_double(p.w);
  expect_near(out.dh, finite_difference(h, [&] { return p.reference_loss(h, w); }), 1e-4, 1e-5);
  for (const size_t i : {size_t{0}, size_t{8191}, size_t{8192}, size_t{8199}, size_t(p.target[0]) * 2}) {
    const double at = w[i], step = 1e-5;
    w[i] = at + step;
    const double up = p.reference_loss(h, w);
    w[i] = at - step;
    EXPECT_NEAR(out.dw[i], (up - p.reference_loss(h, w)) / (2 * step), 1e-5) << "element " << i;
    w[i] = at;
  }
}

TEST(LmHead, WeightGradientDoesNotDependOnMicroBatches) {
  Machine machine(2);
  const Problem p(400, 6, 4130);
  const Problem::Out whole = p.both(machine.ctx);
  for (const int64_t cut : {1, 130, 341, 342, 399}) {
    Problem::Out parts;
    p.forward(machine.ctx, 0, p.T, parts);
    p.backward(machine.ctx, 0, cut, parts);
    p.backward(machine.ctx, cut, p.T - cut, parts);
    EXPECT_TRUE(same_bits(parts.dw, whole.dw)) << "cut at " << cut;
    EXPECT_TRUE(same_bits(parts.dh, whole.dh)) << "cut at " << cut;
  }
}

TEST(LmHead, RowsWithoutTargetCostNothingAndGiveZero) {
  Machine machine(2);
  Problem p(5, 4, 50);
  p.target.assign(5, -1);
  Problem::Out out;
  out.logprob.assign(5, 9), out.entropy.assign(5, 9), out.dh.assign(20, 9);
  p.forward(machine.ctx, 0, p.T, out);
  p.backward(machine.ctx, 0, p.T, out);
  EXPECT_TRUE(same_bits(out.logprob, Floats(5, 0.0f)));
  EXPECT_TRUE(same_bits(out.entropy, Floats(5, 0.0f)));
  EXPECT_TRUE(same_bits(out.dh, Floats(20, 0.0f)));
  EXPECT_TRUE(same_bits(out.dw, Floats(200, 0.0f)));
}

TEST(LmHead, LogitsThatAreNotFiniteAreNotHidden) {
  Machine machine(2);
  Problem p(3, 4, 5000);
  p.w[4 * 4990] = INFINITY;
  pack_weight(mat(p.w.data(), p.V, p.C), DType::kF32, p.packed.get(), machine.ctx);
  Problem::Out out;
  p.forward(machine.ctx, 0, p.T, out);
  for (const float f : out.logprob) EXPECT_TRUE(std::isnan(f)) << f;
}

TEST(LmHead, EmptyBatchAndBadArguments) {
  Machine machine(1);
  Problem p(4, 3, 40);
  Problem::Out out = p.both(machine.ctx);
  const Floats dw = out.dw;
  p.forward(machine.ctx, 0, 0, out);
  p.backward(machine.ctx, 0, 0, out);
  EXPECT_TRUE(same_bits(out.dw, dw));

  p.target[2] = 40;
  expect_error([&] { p.forward(machine.ctx, 0, 4, out); },
               "lm_head_forward: target of row 2 is 40, want -1..39 (V is 40)");
  expect_error([&] { p.backward(machine.ctx, 0, 4, out); }, "lm_head_backward: target of row 2 is 40");
  p.target[2] = 1, p.inv_temperature = 0;
  expect_error([&] { p.forward(machine.ctx, 0, 4, out); }, "inv_temperature is 0");
  p.inv_temperature = 1, p.w_rows = mat(p.w.data(), 39, 3);
  expect_error([&] { p.backward(machine.ctx, 0, 4, out); }, "lm_head_backward: w_rows is (39, 3), want (40, 3)");
  p.view.K = 4;
  expect_error([&] { p.forward(machine.ctx, 0, 4, out); }, "lm_head_forward: h is (4, 3), want (4, 4)");
}

}  // namespace
}  // namespace fulmen::kernels
