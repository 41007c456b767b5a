// wgmma is used only on a device that shows equal bits for it and mma.sync: the emulation can be made one that does
// not.

#include <gtest/gtest.h>

#include "cuda_test_device.h"
#include "hopper.h"
#include "kernels/cuda/product_wgmma.h"
#include "tests/kernels/bf16_values.h"

namespace fulmen::kernels {
namespace {

// With wgmma admitted a large batch takes it and a row alone does not: the bits do not tell.
TEST(CudaWgmma, IsAdmittedWhereItsBitsAreThoseOfMmaAndNowhereElse) {
  Machine machine(1);
  TestDevice device(machine.pool);
  cuda::State& state = cuda::state_of(device.context());
  const int64_t T = 70, N = 136, K = 104;
  Values x(T * K, 10), w(N * K, 11);
  const auto forward = [&](int64_t rows) {
    Floats y(static_cast<size_t>(rows * N));
    linear_forward({mat(x.fp32.data(), rows, K), {w.bf16(), DType::kBf16, N, K}, mat(y.data(), rows, N)},
                   device.context());
    return y;
  };
  const Floats want = forward(T);
  cuda::admit_wgmma(state, false);
  EXPECT_FALSE(state.wgmma_admitted());
  cuda::admit_wgmma(state, true);
  EXPECT_TRUE(state.wgmma_admitted());
  EXPECT_TRUE(same_bits(forward(T), want));
  EXPECT_TRUE(same_bits(forward(1), Floats(want.begin(), want.begin() + N)));
  emulation::set_wgmma_bits(13);  // as Hopper's fp8 sums
  EXPECT_FALSE(same_bits(forward(T), want));
  cuda::admit_wgmma(state, true);
  EXPECT_FALSE(state.wgmma_admitted());
  EXPECT_TRUE(same_bits(forward(T), want));
  emulation::set_wgmma_bits(25);
}

}  // namespace
}  // namespace fulmen::kernels
