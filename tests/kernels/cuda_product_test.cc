// The two bf16 products of kernels/cuda by emulation: wgmma, with its tensor maps, swizzles and descriptors taken
// apart, gives the bits of mma.sync for every layout, alone and by expert. On a GPU where wgmma was not admitted its
// place is taken by the tiles of mma.sync.

#include <gtest/gtest.h>

#include "cuda_test_device.h"
#include "kernels/cuda/product_few.h"
#include "kernels/cuda/product_wgmma.h"
#include "tests/kernels/bf16_values.h"
#include "tests/kernels/properties.h"

namespace fulmen::kernels {
namespace {

using Ints = std::vector<int32_t>;

using Multiply = void (*)(const cuda::Product&, cuda::State&);

class CudaProduct : public ::testing::Test {
 protected:
  CudaProduct() : machine_(1), device_(machine_.pool) {
    if (device_.admits_wgmma()) large_[0] = cuda::multiply_wgmma;
  }
  cuda::State& state() { return cuda::state_of(device_.context()); }

  Machine machine_;
  TestDevice device_;
  Multiply large_[2] = {cuda::multiply_mma_tiles, cuda::multiply_mma_tiles};
};

// C by one of the kernels, added to what stood there.
Floats result(cuda::Product p, int64_t count, Multiply multiply, cuda::State& state) {
  Floats c = normal_floats(count, 3);
  p.c = c.data();
  multiply(p, state);
  return c;
}

TEST_F(CudaProduct, LargeTilesGiveTheBitsOfSmallOnesInEveryLayout) {
  for (const auto& [M, N, K] : {std::tuple<int64_t, int64_t, int64_t>{136, 72, 104}, {64, 136, 200}})
    for (const bool across_a : {false, true})
      for (const bool across_b : {false, true})
        for (const bool accumulate : {false, true}) {
          Values a(M * K, 1), b(N * K, 2);
          cuda::Product p;
          p.M = M, p.N = N, p.K = K, p.c_row = N, p.accumulate = accumulate;
          p.a = a.fp32.data(), p.a_row = across_a ? 1 : K, p.a_k = across_a ? M : 1;
          p.b = accumulate ? static_cast<const void*>(b.fp32.data()) : b.bf16();  // fp32: rounded on the way
          p.b_type = accumulate ? DType::kF32 : DType::kBf16;
          p.b_column = across_b ? 1 : K, p.b_k = across_b ? N : 1;
          ASSERT_TRUE(cuda::fits_tiles(p));
          for (const Multiply large : large_)
            EXPECT_TRUE(same_bits(result(p, M * N, large, state()), result(p, M * N, cuda::multiply_mma, state())))
                << M << " x " << N << " x " << K << (across_a ? ", a across k" : "")
                << (across_b ? ", b across k" : "");
        }
}

// Sums so long that every stage of the rings is filled again: no step is overwritten before it was multiplied.
TEST_F(CudaProduct, LongSumsGiveTheBitsOfSmallTiles) {
  const int64_t M = 64, K = 712;
  for (const int64_t N : {72, 136}) {
    Values a(M * K, 24), b(N * K, 25);
    cuda::Product p;
    p.M = M, p.N = N, p.K = K, p.c_row = N, p.a = a.fp32.data(), p.a_row = K;
    p.b = b.bf16(), p.b_type = DType::kBf16, p.b_column = K;
    for (const Multiply large : large_)
      EXPECT_TRUE(same_bits(result(p, M * N, large, state()), result(p, M * N, cuda::multiply_mma, state()))) << N;
  }
}

TEST_F(CudaProduct, LargeTilesGiveTheBitsOfSmallOnesByExpert) {
  const int64_t N = 136, K = 80;
  const Ints offset = {0, 0, 131, 140, 300};
  const int64_t R = offset.back(), E = 4;
  Values x(R * K, 4), dy(R * N, 5);
  std::vector<Values> weights;
  std::vector<const void*> list;
  for (uint32_t e = 0; e < E; ++e) weights.emplace_back(N * K, 6 + e);
  for (Values& w : weights) list.push_back(w.bf16());
  cuda::Product p;
  p.groups = cuda::Groups::kRows, p.experts = E, p.offset = offset.data(), p.b_list = list.data();
  p.b_host = list.data(), p.b = list[0], p.b_type = DType::kBf16;
  p.M = R, p.N = N, p.K = K, p.a = x.fp32.data(), p.a_row = K, p.b_column = K, p.c_row = N;  // y = x w^T
  ASSERT_TRUE(cuda::fits_tiles(p));
  for (const Multiply large : large_)
    EXPECT_TRUE(same_bits(result(p, R * N, large, state()), result(p, R * N, cuda::multiply_mma, state())));
  p.N = K, p.K = N, p.a = dy.fp32.data(), p.a_row = N, p.b_k = K, p.b_column = 1, p.c_row = K;  // dx = dy w
  ASSERT_TRUE(cuda::fits_tiles(p));
  for (const Multiply large : large_)
    EXPECT_TRUE(same_bits(result(p, R * K, large, state()), result(p, R * K, cuda::multiply_mma, state())));

  Floats want = normal_floats(E * N * K, 9), got[2] = {want, want};  // dw += dy^T x
  for (Floats* c : {&got[0], &got[1], &want}) {
    std::vector<float*> gradients;
    for (int64_t e = 0; e < E; ++e) gradients.push_back(c->data() + e * N * K);
    cuda::Product s;
    s.groups = cuda::Groups::kSum, s.experts = E, s.offset = offset.data(), s.c_list = gradients.data();
    s.M = N, s.N = K, s.K = R, s.a = dy.fp32.data(), s.a_row = 1, s.a_k = N;
    s.b = x.fp32.data(), s.b_k = K, s.b_column = 1, s.c_row = K, s.accumulate = true;
    ASSERT_TRUE(cuda::fits_tiles(s));
    (c == &want ? cuda::multiply_mma : large_[c - got])(s, state());
  }
  for (const Floats& g : got) EXPECT_TRUE(same_bits(g, want));
}

// Few rows: weights and tokens change places. All numbers of rows, rest columns and a rest of k, alone and by expert.
TEST_F(CudaProduct, FewRowsGiveTheBitsOfMany) {
  for (const auto& [N, K] : {std::pair<int64_t, int64_t>{72, 1608}, {8456, 24}, {8456, 840}}) {
    const int64_t most = 64;
    Values x(most * K, 13), w(N * K, 14);
    for (const int64_t M : {1, 8, 9, 17, 64}) {
      cuda::Product p;
      p.M = M, p.N = N, p.K = K, p.a = x.fp32.data(), p.a_row = K, p.c_row = N, p.accumulate = M == 9;
      p.b = w.bf16(), p.b_type = DType::kBf16, p.b_column = K;
      ASSERT_TRUE(cuda::fits_few(p));
      Floats got = normal_floats(M * N, 15), want = got;
      p.c = got.data();
      cuda::multiply_few({&p, 1}, state());
      p.c = want.data();
      cuda::multiply_mma(p, state());
      EXPECT_TRUE(same_bits(got, want)) << M << " x " << N << " x " << K;
      if (N > 1000) break;  // tiles of 32 columns, and a ring that is filled again
    }
  }
  const int64_t N = 40, K = 72;
  for (const Ints& offset : {Ints{0, 0, 1, 4, 5}, Ints{0, 20, 20, 53, 60}}) {
    const int64_t R = offset.back();
    Values x(R * K, 16);
    std::vector<Values> weights;
    std::vector<const void*> list;
    for (uint32_t e = 0; e < 4; ++e) weights.emplace_back(N * K, 17 + e);
    for (Values& w : weights) list.push_back(w.bf16());
    cuda::Product p;
    p.groups = cuda::Groups::kRows, p.experts = 4, p.offset = offset.data(), p.b_list = list.data();
    p.b_host = list.data(), p.b_type = DType::kBf16;
    p.M = R, p.N = N, p.K = K, p.a = x.fp32.data(), p.a_row = K, p.b_column = K, p.c_row = N;
    ASSERT_TRUE(cuda::fits_few(p));
    Floats got(static_cast<size_t>(R * N)), want = got;
    p.c = got.data();
    cuda::multiply_few({&p, 1}, state());
    p.c = want.data();
    cuda::multiply_mma(p, state());
    EXPECT_TRUE(same_bits(got, want)) << R;
  }
}

// The argument of product.h against a split sum: with one row, each product of a decode step of G1 (1.8 B) and M1 has
// the bytes on their way that an H100's bandwidth and latency want, or all that it has.
TEST(FewProducts, OneRowAsksForEnoughWeightsAtOnce) {
  constexpr double kWanted = 3e12 * 0.7e-6;
  const auto product = [](int64_t N, int64_t K, int64_t rows, int experts) {
    cuda::Product p;
    p.N = N, p.K = K, p.M = rows, p.experts = experts;
    p.groups = experts > 0 ? cuda::Groups::kRows : cuda::Groups::kNone;
    return p;
  };
  const auto expect_enough = [&](std::vector<cuda::Product> list, int64_t blocks) {
    double all = 0;
    for (const cuda::Product& p : list) all += 2.0 * static_cast<double>(p.N * p.K * (p.experts > 0 ? p.M : 1));
    const cuda::FewPlan plan = cuda::plan_few(list);
    EXPECT_EQ(plan.blocks, blocks) << list[0].N << " x " << list[0].K;
    EXPECT_GE(static_cast<double>(plan.bytes_on_their_way(list[0].K)), std::min(all, kWanted));
  };
  expect_enough({product(3072, 1024, 1, 0), product(1024, 1024, 1, 0)}, 256);
  expect_enough({product(1024, 1024, 1, 0)}, 64);
  expect_enough({product(1024, 1024, 1, 0), product(256, 1024, 1, 0), product(256, 1024, 1, 0)}, 96);
  expect_enough({product(1024, 1024, 2, 32), product(1024, 1024, 2, 32)}, 256);
  expect_enough({product(1024, 1024, 2, 32)}, 128);
  expect_enough({product(24576, 6144, 1, 0), product(8192, 6144, 1, 0)}, 1024);
  expect_enough({product(6144, 8192, 1, 0)}, 384);
  expect_enough({product(8192, 6144, 1, 0), product(1024, 6144, 1, 0), product(1024, 6144, 1, 0)}, 320);
  expect_enough({product(9216, 6144, 2, 32), product(9216, 6144, 2, 32)}, 1152);
  expect_enough({product(6144, 9216, 2, 32)}, 384);
}

// Products of one x share a launch (few rows) or the rounding of x (many): the bits of one by one.
TEST_F(CudaProduct, TogetherGivesTheBitsOfOneByOne) {
  const int64_t K = 72, widths[] = {72, 136, 80};
  state().set_wgmma_admitted(device_.admits_wgmma());
  std::vector<Values> weights;
  for (const int64_t N : widths) weights.emplace_back(N * K, static_cast<uint32_t>(30 + N));
  for (const int64_t T : {1, 20, 70}) {
    Values x(T * K, 29);
    std::vector<Floats> apart, together;
    for (const int64_t N : widths) apart.emplace_back(static_cast<size_t>(T * N)), together.push_back(apart.back());
    for (const size_t count : {size_t{2}, size_t{3}}) {
      std::vector<LinearForward> list;
      for (size_t i = 0; i < count; ++i) {
        const int64_t N = widths[i];
        const PackedWeight w{weights[i].bf16(), DType::kBf16, N, K};
        linear_forward({mat(x.fp32.data(), T, K), w, mat(apart[i].data(), T, N)}, device_.context());
        list.push_back({mat(x.fp32.data(), T, K), w, mat(together[i].data(), T, N)});
      }
      linear_forward_together(list, device_.context());
      for (size_t i = 0; i < count; ++i) EXPECT_TRUE(same_bits(together[i], apart[i])) << T << " rows, product " << i;
    }
  }
}

TEST_F(CudaProduct, ExpertsTogetherGiveTheBitsOfOneByOne) {
  const int64_t N = 72, K = 80, E = 2;
  state().set_wgmma_admitted(device_.admits_wgmma());
  std::vector<Values> weights;
  for (uint32_t i = 0; i < 2 * E; ++i) weights.emplace_back(N * K, 40 + i);
  for (const Ints& offset : {Ints{0, 1, 4}, Ints{0, 130, 200}}) {
    const int64_t R = offset.back();
    Values x(R * K, 39);
    Floats apart[2], together[2];
    std::vector<PackedWeight> packed[2];
    std::vector<GroupedLinearForward> list;
    for (size_t i = 0; i < 2; ++i) {
      apart[i].resize(static_cast<size_t>(R * N)), together[i] = apart[i];
      for (size_t e = 0; e < E; ++e) packed[i].push_back({weights[i * E + e].bf16(), DType::kBf16, N, K});
      grouped_linear_forward({mat(x.fp32.data(), R, K), offset, packed[i], mat(apart[i].data(), R, N)},
                             device_.context());
      list.push_back({mat(x.fp32.data(), R, K), offset, packed[i], mat(together[i].data(), R, N)});
    }
    grouped_linear_forward_together(list, device_.context());
    for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(same_bits(together[i], apart[i])) << R;
  }
}

// The LM head on tensor cores, all three products of it: with wgmma the bits without, near the reference in double by
// what rounding the logits' gradients to bf16 does to their sums.
TEST_F(CudaProduct, LmHeadIsNearTheReferenceAndWgmmaDoesNotShow) {
  const int64_t T = 70, V = 300, C = 72;
  Values h(T * C, 20), w(V * C, 21);
  const float scale = 0.25f;  // temperature 4: a distribution with more than one token
  Ints target(static_cast<size_t>(T));
  for (int64_t t = 0; t < T; ++t) target[static_cast<size_t>(t)] = static_cast<int32_t>(t * 37 % V);
  target[5] = -1;
  const Floats dlp = normal_floats(T, 22), dent = normal_floats(T, 23);
  const PackedWeight packed{w.bf16(), DType::kBf16, V, C};
  TensorRef rows = mat(w.fp32.data(), V, C);
  rows.data = const_cast<uint16_t*>(w.bf16()), rows.dtype = DType::kBf16;
  const auto run = [&] {
    Floats lp(static_cast<size_t>(T)), ent = lp, lse(static_cast<size_t>(2 * T)), dh(static_cast<size_t>(T * C));
    Floats dw(static_cast<size_t>(V * C));
    const TensorRef x = mat(h.fp32.data(), T, C);
    lm_head_forward({x, packed, target, scale, vec(lp.data(), T), vec(ent.data(), T), mat(lse.data(), T, 2)},
                    device_.context());
    lm_head_backward({x, packed, rows, target, scale, mat(lse.data(), T, 2), vec(ent.data(), T), vec(dlp.data(), T),
                      vec(dent.data(), T), mat(dh.data(), T, C), mat(dw.data(), V, C)},
                     device_.context());
    return joined({lp, ent, dh, dw});
  };
  state().set_wgmma_admitted(false);
  const Floats got = run();
  state().set_wgmma_admitted(device_.admits_wgmma());
  EXPECT_TRUE(same_bits(run(), got));

  Doubles want(got.size()), size(got.size());
  for (int64_t t = 0; t < T; ++t) {
    if (target[static_cast<size_t>(t)] < 0) continue;
    Doubles p(static_cast<size_t>(V));
    double sum = 0, entropy = 0;
    for (int64_t v = 0; v < V; ++v) {
      double x = 0;
      for (int64_t c = 0; c < C; ++c)
        x += static_cast<double>(h.fp32[static_cast<size_t>(t * C + c)]) * w.fp32[static_cast<size_t>(v * C + c)];
      sum += p[static_cast<size_t>(v)] = std::exp(x * scale);
    }
    for (double& x : p) x /= sum, entropy -= x * std::log(x);
    want[static_cast<size_t>(t)] = std::log(p[static_cast<size_t>(target[static_cast<size_t>(t)])]);
    want[static_cast<size_t>(T + t)] = entropy;
    for (int64_t v = 0; v < V; ++v) {
      const double x = p[static_cast<size_t>(v)], hit = v == target[static_cast<size_t>(t)];
      const double d = scale * (static_cast<double>(dlp[static_cast<size_t>(t)]) * (hit - x) -
                                static_cast<double>(dent[static_cast<size_t>(t)]) * x * (std::log(x) + entropy));
      for (int64_t c = 0; c < C; ++c) {
        const auto to_h = static_cast<size_t>(2 * T + t * C + c), to_w = static_cast<size_t>(2 * T + (T + v) * C + c);
        const double dh = d * w.fp32[static_cast<size_t>(v * C + c)], dw = d * h.fp32[static_cast<size_t>(t * C + c)];
        want[to_h] += dh, size[to_h] += std::abs(dh);
        want[to_w] += dw, size[to_w] += std::abs(dw);
      }
    }
  }
  for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 2e-5 + 1.02 / 256 * size[i]) << i;
}

TEST_F(CudaProduct, WhatTheCopyEngineCannotReadDoesNotFit) {
  Values b(256 * 256, 12);
  cuda::Product p;
  p.M = p.N = p.K = p.a_row = p.b_column = p.c_row = 256;
  p.a = b.fp32.data(), p.b = b.bf16(), p.b_type = DType::kBf16;
  EXPECT_TRUE(cuda::fits_tiles(p));
  cuda::Product few = p, strided = p, grouped = p;
  few.M = 16;
  EXPECT_FALSE(cuda::fits_tiles(few));
  strided.a_k = 2, strided.a_row = 512;
  EXPECT_FALSE(cuda::fits_tiles(strided));
  const void* odd[] = {b.bf16() + 1};
  grouped.groups = cuda::Groups::kRows, grouped.experts = 1, grouped.b_host = odd;
  EXPECT_FALSE(cuda::fits_tiles(grouped));
  odd[0] = b.bf16();
  EXPECT_TRUE(cuda::fits_tiles(grouped));
}

}  // namespace
}  // namespace fulmen::kernels
