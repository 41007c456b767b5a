#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "tests/kernels/properties.h"
#include "tests/reference/linear_ref.h"

namespace fulmen::kernels {
namespace {

const std::vector<int64_t> kOddSizes = {1, 2, 5, 13, 14, 15, 31, 33, 64, 65, 129};

Floats random_floats(int64_t n, uint32_t seed) {
  std::mt19937 gen(seed);
  std::uniform_real_distribution<float> u(-1.0f, 1.0f);
  Floats v(static_cast<size_t>(n));
  for (float& f : v) f = u(gen);
  return v;
}

// A packed weight and its storage.
class Packed {
 public:
  Packed(const Floats& w, int64_t N, int64_t K, DType dtype, Context& ctx)
      : data_(static_cast<char*>(std::aligned_alloc(64, packed_bytes(N, K, dtype))), &std::free),
        view_{data_.get(), dtype, N, K} {
    pack_weight(mat(w.data(), N, K), dtype, data_.get(), ctx);
  }
  const PackedWeight& view() const { return view_; }

 private:
  std::unique_ptr<char, void (*)(void*)> data_;
  PackedWeight view_;
};

Floats forward(const Floats& x, const Floats& w, int64_t T, int64_t N, int64_t K, Context& ctx,
               DType dtype = DType::kF32) {
  const Packed packed(w, N, K, dtype, ctx);
  Floats y(static_cast<size_t>(T * N), NAN);
  linear_forward({mat(x.data(), T, K), packed.view(), mat(y.data(), T, N)}, ctx);
  return y;
}

struct Case {
  Case(int64_t rows, int64_t outputs, int64_t inputs)
      : T(rows),
        N(outputs),
        K(inputs),
        x(random_floats(T * K, 1)),
        w(random_floats(N * K, 2)),
        dy(random_floats(T * N, 3)) {}
  int64_t T, N, K;
  Floats x, w, dy;
};

std::pair<Floats, Floats> backward(const Case& c, Context& ctx, const Floats& dx0, const Floats& dw0, bool accumulate) {
  Floats dx = dx0, dw = dw0;
  linear_backward({.dy = mat(c.dy.data(), c.T, c.N),
                   .x = mat(c.x.data(), c.T, c.K),
                   .w = mat(c.w.data(), c.N, c.K),
                   .dx = mat(dx.data(), c.T, c.K),
                   .dx_accumulate = accumulate,
                   .dw = mat(dw.data(), c.N, c.K)},
                  ctx);
  return {dx, dw};
}

template <class F>
void for_each_odd_size(F f) {
  for (int64_t T : kOddSizes)
    for (int64_t N : kOddSizes)
      for (int64_t K : kOddSizes) f(Case(T, N, K));
}

TEST(LinearForward, EqualsTheScalarChainBitForBitAtOddSizes) {
  Machine m(2);
  for_each_odd_size([&](const Case& c) {
    ASSERT_TRUE(same_bits(forward(c.x, c.w, c.T, c.N, c.K, m.ctx), reference::linear_chain(c.x, c.w, c.T, c.N, c.K)))
        << c.T << "x" << c.N << "x" << c.K;
  });
}

TEST(LinearForward, EqualsTheScalarChainWhereWeightsFitTheCacheAndTilesEndAmidPanels) {
  Machine m(2);
  for (const int64_t T : {7, 8, 9, 10})
    for (const auto& [N, K] : {std::pair{96, 16}, {130, 33}, {224, 128}, {512, 128}, {32, 1024}}) {
      const Case c(T, N, K);
      ASSERT_TRUE(same_bits(forward(c.x, c.w, T, N, K, m.ctx), reference::linear_chain(c.x, c.w, T, N, K)))
          << T << "x" << N << "x" << K;
    }
}

TEST(LinearBackward, EqualsTheScalarChainBitForBitAtOddSizes) {
  Machine m(2);
  for_each_odd_size([&](const Case& c) {
    Floats dx(c.x.size()), dw = random_floats(c.N * c.K, 4);
    const auto [got_dx, got_dw] = backward(c, m.ctx, Floats(c.x.size(), NAN), dw, false);
    reference::linear_chain_dx(c.dy, c.w, c.T, c.N, c.K, dx);
    reference::linear_chain_dw(c.dy, c.x, c.T, c.N, c.K, dw);
    ASSERT_TRUE(same_bits(got_dx, dx)) << "dx " << c.T << "x" << c.N << "x" << c.K;
    ASSERT_TRUE(same_bits(got_dw, dw)) << "dw " << c.T << "x" << c.N << "x" << c.K;
  });
}

// Sizes beyond every block of the implementation, so that chains are spilled and reloaded and work is split.
TEST(Linear, EqualsTheScalarChainBeyondEveryBlockSize) {
  Machine m(2);
  for (const auto& [T, N, K] : {std::tuple{300, 70, 2500}, {40, 1300, 700}, {3, 2100, 1100}, {2300, 40, 50}}) {
    const Case c(T, N, K);
    ASSERT_TRUE(same_bits(forward(c.x, c.w, T, N, K, m.ctx), reference::linear_chain(c.x, c.w, T, N, K)));
    Floats dx = random_floats(T * K, 5), dw = random_floats(N * K, 6);
    const auto [got_dx, got_dw] = backward(c, m.ctx, dx, dw, true);
    reference::linear_chain_dx(c.dy, c.w, T, N, K, dx);
    reference::linear_chain_dw(c.dy, c.x, T, N, K, dw);
    ASSERT_TRUE(same_bits(got_dx, dx)) << T << "x" << N << "x" << K;
    ASSERT_TRUE(same_bits(got_dw, dw)) << T << "x" << N << "x" << K;
  }
}

TEST(LinearForward, RowDoesNotDependOnBatchSize) {
  Machine m(2);
  const int64_t N = 100, K = 777, rows = 70;
  const Case all(rows, N, K);
  const Floats alone = forward(Floats(all.x.begin() + 3 * K, all.x.begin() + 4 * K), all.w, 1, N, K, m.ctx);
  for (int64_t T = 4; T <= rows; ++T) {
    const Floats y = forward(Floats(all.x.begin(), all.x.begin() + T * K), all.w, T, N, K, m.ctx);
    ASSERT_EQ(0, std::memcmp(&y[3 * N], alone.data(), N * sizeof(float))) << "batch of " << T;
  }
}

TEST(Linear, ThreadCountChangesNothing) {
  Machine one(1), two(2), five(5);
  for (const auto& [T, N, K] : {std::tuple{1, 600, 512}, {9, 257, 300}, {200, 130, 520}}) {
    const Case c(T, N, K);
    const Floats y = forward(c.x, c.w, T, N, K, one.ctx), zero_dx(c.x.size()), zero_dw(c.w.size());
    const auto back = backward(c, one.ctx, zero_dx, zero_dw, false);
    for (Machine* m : {&two, &five}) {
      EXPECT_TRUE(same_bits(y, forward(c.x, c.w, T, N, K, m->ctx)));
      const auto other = backward(c, m->ctx, zero_dx, zero_dw, false);
      EXPECT_TRUE(same_bits(back.first, other.first));
      EXPECT_TRUE(same_bits(back.second, other.second));
    }
  }
}

TEST(Linear, Avx2TableEqualsAvx512TableBitForBit) {
  if (!has_avx512()) GTEST_SKIP() << "this processor has no AVX-512";
  Machine narrow(2, "avx2"), wide(2, "avx512");
  for (const auto& [T, N, K] : {std::tuple{1, 65, 129}, {2, 33, 500}, {8, 200, 64}, {37, 131, 640}, {150, 96, 1025}})
    for (DType dtype : {DType::kF32, DType::kBf16}) {
      const Case c(T, N, K);
      EXPECT_TRUE(
          same_bits(forward(c.x, c.w, T, N, K, narrow.ctx, dtype), forward(c.x, c.w, T, N, K, wide.ctx, dtype)));
      const Floats dx0 = random_floats(T * K, 7), dw0 = random_floats(N * K, 8);
      const auto a = backward(c, narrow.ctx, dx0, dw0, true), b = backward(c, wide.ctx, dx0, dw0, true);
      EXPECT_TRUE(same_bits(a.first, b.first));
      EXPECT_TRUE(same_bits(a.second, b.second));
    }
}

TEST(LinearBackward, MicroBatchesGiveTheSameWeightGradient) {
  Machine m(2);
  const int64_t T = 150, N = 70, K = 90;
  const Case c(T, N, K);
  Floats whole(c.w.size()), split(c.w.size());
  linear_backward(
      {.dy = mat(c.dy.data(), T, N), .x = mat(c.x.data(), T, K), .w = {}, .dx = {}, .dw = mat(whole.data(), N, K)},
      m.ctx);
  int64_t at = 0;
  for (int64_t rows : {1, 63, 2, 40, 44}) {
    linear_backward({.dy = mat(&c.dy[at * N], rows, N),
                     .x = mat(&c.x[at * K], rows, K),
                     .w = {},
                     .dx = {},
                     .dw = mat(split.data(), N, K)},
                    m.ctx);
    at += rows;
  }
  ASSERT_EQ(at, T);
  EXPECT_TRUE(same_bits(whole, split));
}

TEST(Linear, Bf16WeightsEqualTheirWidenedValues) {
  Machine m(2);
  for (const auto& [T, N, K] : {std::tuple{1, 70, 300}, {3, 513, 64}, {8, 64, 64}, {12, 33, 129}, {100, 95, 600}}) {
    const Case c(T, N, K);
    Floats widened(c.w.size());
    std::vector<uint16_t> half(c.w.size());
    for (size_t i = 0; i < c.w.size(); ++i) {
      half[i] = reference::nearest_bf16(c.w[i]);
      widened[i] = reference::bf16_value(half[i]);
    }
    EXPECT_TRUE(
        same_bits(forward(c.x, c.w, T, N, K, m.ctx, DType::kBf16), reference::linear_chain(c.x, widened, T, N, K)));
    Floats dx(c.x.size(), NAN), want(c.x.size());
    const TensorRef w16{half.data(), DType::kBf16, 2, {N, K}, K};
    linear_backward({.dy = mat(c.dy.data(), T, N), .x = {}, .w = w16, .dx = mat(dx.data(), T, K), .dw = {}}, m.ctx);
    reference::linear_chain_dx(c.dy, widened, T, N, K, want);
    EXPECT_TRUE(same_bits(dx, want));
  }
}

TEST(Linear, RowStridesAreHonouredAndPaddingIsNotTouched) {
  Machine m(2);
  for (int64_t T : {3, 20}) {
    const int64_t N = 45, K = 70, ldx = 80, ldy = 50;
    const Case c(T, N, K);
    Floats x(T * ldx, 99.0f), y(T * ldy, 7.0f);
    for (int64_t t = 0; t < T; ++t) std::copy_n(&c.x[t * K], K, &x[t * ldx]);
    const Packed packed(c.w, N, K, DType::kF32, m.ctx);
    linear_forward({mat(x.data(), T, K, ldx), packed.view(), mat(y.data(), T, N, ldy)}, m.ctx);
    const Floats want = reference::linear_chain(c.x, c.w, T, N, K);
    for (int64_t t = 0; t < T; ++t) {
      ASSERT_EQ(0, std::memcmp(&y[t * ldy], &want[t * N], N * sizeof(float)));
      for (int64_t n = N; n < ldy; ++n) ASSERT_EQ(y[t * ldy + n], 7.0f);
    }
  }
}

TEST(LinearBackward, AgreesWithDoublePrecision) {
  Machine m(2);
  const int64_t T = 67, N = 130, K = 95;
  const Case c(T, N, K);
  const auto [dx, dw] = backward(c, m.ctx, Floats(T * K), Floats(N * K), false);
  const auto want_dx = reference::product(c.dy.data(), N, 1, c.w.data(), K, 1, T, N, K);
  const auto want_dw = reference::product(c.dy.data(), 1, N, c.x.data(), K, 1, N, T, K);
  for (size_t i = 0; i < dx.size(); ++i) ASSERT_NEAR(dx[i], want_dx[i], 2e-5);
  for (size_t i = 0; i < dw.size(); ++i) ASSERT_NEAR(dw[i], want_dw[i], 2e-5);
}

// Negative control: the comparison above can tell a chain from the same sum in another order.
TEST(Linear, ReorderedChainDiffers) {
  Machine m(1);
  const int64_t T = 4, N = 32, K = 512;
  const Case c(T, N, K);
  Floats x(c.x), w(c.w);
  for (int64_t t = 0; t < T; ++t) std::reverse(&x[t * K], &x[t * K] + K);
  for (int64_t n = 0; n < N; ++n) std::reverse(&w[n * K], &w[n * K] + K);
  EXPECT_FALSE(same_bits(forward(c.x, c.w, T, N, K, m.ctx), forward(x, w, T, N, K, m.ctx)));
}

class Grouped : public ::testing::Test {
 protected:
  static constexpr int64_t kN = 75, kK = 130;
  const std::vector<int32_t> offset_ = {0, 0, 1, 4, 4, 12, 27, 127, 128};
  const size_t E_ = offset_.size() - 1;
  const int64_t R_ = offset_.back();
  const Floats x_ = random_floats(R_ * kK, 1), dy_ = random_floats(R_ * kN, 2);
  std::vector<Floats> w_;

  void SetUp() override {
    for (size_t e = 0; e < E_; ++e) w_.push_back(random_floats(kN * kK, 10 + static_cast<uint32_t>(e)));
  }
};

TEST_F(Grouped, ForwardEqualsOneLinearPerExpert) {
  Machine m(2);
  for (DType dtype : {DType::kF32, DType::kBf16}) {
    std::vector<std::unique_ptr<Packed>> packed;
    std::vector<PackedWeight> views;
    Floats want(R_ * kN), got(R_ * kN, NAN);
    for (size_t e = 0; e < E_; ++e) {
      packed.push_back(std::make_unique<Packed>(w_[e], kN, kK, dtype, m.ctx));
      views.push_back(packed.back()->view());
      const int64_t r0 = offset_[e], rows = offset_[e + 1] - r0;
      linear_forward({mat(&x_[r0 * kK], rows, kK), views[e], mat(&want[r0 * kN], rows, kN)}, m.ctx);
    }
    grouped_linear_forward({mat(x_.data(), R_, kK), offset_, views, mat(got.data(), R_, kN)}, m.ctx);
    EXPECT_TRUE(same_bits(got, want));
  }
}

TEST_F(Grouped, BackwardEqualsOneLinearPerExpert) {
  Machine m(2);
  for (bool accumulate : {false, true}) {
    const Floats dx0 = random_floats(R_ * kK, 3), dw0 = random_floats(kN * kK, 4);
    Floats dx = dx0, want_dx = dx0;
    std::vector<Floats> dw(E_, dw0), want_dw(E_, dw0);
    std::vector<TensorRef> w, dw_views;
    for (size_t e = 0; e < E_; ++e) {
      w.push_back(mat(w_[e].data(), kN, kK));
      dw_views.push_back(mat(dw[e].data(), kN, kK));
      const int64_t r0 = offset_[e], rows = offset_[e + 1] - r0;
      linear_backward({mat(&dy_[r0 * kN], rows, kN), mat(&x_[r0 * kK], rows, kK), w[e],
                       mat(&want_dx[r0 * kK], rows, kK), accumulate, mat(want_dw[e].data(), kN, kK)},
                      m.ctx);
    }
    grouped_linear_backward(
        {mat(dy_.data(), R_, kN), mat(x_.data(), R_, kK), offset_, w, mat(dx.data(), R_, kK), accumulate, dw_views},
        m.ctx);
    EXPECT_TRUE(same_bits(dx, want_dx));
    for (size_t e = 0; e < E_; ++e) EXPECT_TRUE(same_bits(dw[e], want_dw[e])) << "expert " << e;
  }
}

// Widths that end inside a panel, row counts on both sides of every tile, and more panels than one unit of work.
TEST(LinearForward, TogetherEqualsOneByOne) {
  Machine m(2);
  constexpr int64_t kInputs = 130, kWidths[] = {75, 700, 32};
  for (DType dtype : {DType::kF32, DType::kBf16})
    for (int64_t T : {1, 3, 9, 14, 15, 300}) {
      const Floats x = random_floats(T * kInputs, 1);
      std::vector<std::unique_ptr<Packed>> packed;
      std::vector<Floats> want, got;
      std::vector<LinearForward> list;
      for (int64_t N : kWidths) {
        packed.push_back(
            std::make_unique<Packed>(random_floats(N * kInputs, static_cast<uint32_t>(N)), N, kInputs, dtype, m.ctx));
        want.emplace_back(T * N), got.emplace_back(T * N, NAN);
        linear_forward({mat(x.data(), T, kInputs), packed.back()->view(), mat(want.back().data(), T, N)}, m.ctx);
        list.push_back({mat(x.data(), T, kInputs), packed.back()->view(), mat(got.back().data(), T, N)});
      }
      linear_forward_together(list, m.ctx);
      for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(same_bits(got[i], want[i])) << T << " rows, product " << i;
    }
}

TEST_F(Grouped, TogetherEqualsOneByOne) {
  Machine m(2);
  std::vector<std::unique_ptr<Packed>> packed;
  std::vector<PackedWeight> first, second;
  for (size_t e = 0; e < E_; ++e) {
    for (auto [views, seed] : {std::pair{&first, 10}, {&second, 50}}) {
      const Floats w = random_floats(kN * kK, static_cast<uint32_t>(seed) + static_cast<uint32_t>(e));
      packed.push_back(std::make_unique<Packed>(w, kN, kK, DType::kF32, m.ctx));
      views->push_back(packed.back()->view());
    }
  }
  const TensorRef x = mat(x_.data(), R_, kK);
  Floats want[2], got[2];
  for (Floats& y : want) y.resize(R_ * kN);
  for (Floats& y : got) y.assign(R_ * kN, NAN);
  grouped_linear_forward({x, offset_, first, mat(want[0].data(), R_, kN)}, m.ctx);
  grouped_linear_forward({x, offset_, second, mat(want[1].data(), R_, kN)}, m.ctx);
  const GroupedLinearForward both[] = {{x, offset_, first, mat(got[0].data(), R_, kN)},
                                       {x, offset_, second, mat(got[1].data(), R_, kN)}};
  grouped_linear_forward_together(both, m.ctx);
  EXPECT_TRUE(same_bits(got[0], want[0]) && same_bits(got[1], want[1]));
}

TEST(Linear, EmptyInputIsNoWork) {
  Machine m(2);
  const Floats w(6);
  const Packed packed(w, 2, 3, DType::kF32, m.ctx);
  linear_forward(
      {TensorRef{nullptr, DType::kF32, 2, {0, 3}, 3}, packed.view(), TensorRef{nullptr, DType::kF32, 2, {0, 2}, 2}},
      m.ctx);
  Floats dw = {1, 2, 3, 4, 5, 6};
  linear_backward({.dy = TensorRef{nullptr, DType::kF32, 2, {0, 2}, 2},
                   .x = TensorRef{nullptr, DType::kF32, 2, {0, 3}, 3},
                   .w = {},
                   .dx = {},
                   .dw = mat(dw.data(), 2, 3)},
                  m.ctx);
  EXPECT_EQ(dw, (Floats{1, 2, 3, 4, 5, 6}));
}

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Linear, WrongShapeNamesTheTensor) {
  Machine m(1);
  const Floats w(6), big(64);
  Floats out(64);
  const Packed packed(w, 2, 3, DType::kF32, m.ctx);
  EXPECT_EQ(message_of([&] {
              linear_forward({mat(big.data(), 4, 5), packed.view(), mat(out.data(), 4, 2)}, m.ctx);
            }),
            "linear_forward: x is (4, 5), want (4, 3)");
  EXPECT_EQ(message_of([&] {
              linear_forward({mat(big.data(), 4, 3), packed.view(), mat(out.data(), 4, 3)}, m.ctx);
            }),
            "linear_forward: y is (4, 3), want (4, 2)");
  EXPECT_EQ(
      message_of([&] {
        linear_backward(
            {.dy = mat(big.data(), 4, 2), .x = {}, .w = mat(w.data(), 3, 2), .dx = mat(out.data(), 4, 3), .dw = {}},
            m.ctx);
      }),
      "linear_backward: w is (3, 2), want (2, 3)");
  const std::vector<int32_t> offset = {0, 3, 2};
  const std::vector<PackedWeight> experts = {packed.view(), packed.view()};
  EXPECT_EQ(message_of([&] {
              grouped_linear_forward({mat(big.data(), 2, 3), offset, experts, mat(out.data(), 2, 2)}, m.ctx);
            }),
            "grouped_linear_forward: offset[2] is 2, want >= 3");
}

}  // namespace
}  // namespace fulmen::kernels
