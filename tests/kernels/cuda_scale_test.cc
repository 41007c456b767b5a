// What shows only at the sizes of a model: many blocks at once, long sums, indices beyond 32 bits. On a GPU at those
// sizes, by emulation at small ones, which shows that the tests are right.

#include <gtest/gtest.h>

#include "cuda_test_device.h"
#include "kernels/cuda/product_few.h"
#include "kernels/cuda/product_library.h"
#include "kernels/cuda/product_wgmma.h"
#include "kernels/memory.h"
#include "tests/kernels/properties.h"

namespace fulmen::kernels {
namespace {

constexpr bool kSmall = TestDevice::kSmall;

// In [-1, 1), quickly.
Floats uniform_floats(int64_t n, uint64_t seed) {
  Floats v(static_cast<size_t>(n));
  uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
  for (float& f : v) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    f = static_cast<float>(static_cast<int32_t>(x >> 32)) * 0x1p-31f;
  }
  return v;
}

class CudaScale : public ::testing::Test {
 protected:
  CudaScale() : machine_(1), device_(machine_.pool) {
    cuda::state_of(ctx()).set_wgmma_admitted(device_.admits_wgmma());
  }
  Context& ctx() { return device_.context(); }
  cuda::State& state() { return cuda::state_of(ctx()); }

  struct Matrix {
    DeviceMemory memory;
    TensorRef ref;
  };
  Matrix matrix(int64_t rows, int64_t columns) {
    Matrix m{allocate(static_cast<size_t>(rows * columns) * 4, ctx()), {}};
    m.ref = mat(static_cast<float*>(m.memory.get()), rows, columns);
    return m;
  }
  Matrix matrix(int64_t rows, int64_t columns, const Floats& values) {
    Matrix m = matrix(rows, columns);
    copy_in(m.memory.get(), values.data(), values.size() * 4, ctx());
    return m;
  }
  Floats rows_of(const Matrix& m, int64_t first, int64_t count) {
    const int64_t width = m.ref.dim[1];
    Floats v(static_cast<size_t>(count * width));
    copy_out(v.data(), m.ref.f32() + first * width, v.size() * 4, ctx());
    return v;
  }
  // (N, K) in bf16.
  PackedWeight weight(const Matrix& values, std::vector<DeviceMemory>& owned) {
    const int64_t N = values.ref.dim[0], K = values.ref.dim[1];
    owned.push_back(allocate(packed_bytes(N, K, DType::kBf16), ctx()));
    pack_weight(values.ref, DType::kBf16, owned.back().get(), ctx());
    return {owned.back().get(), DType::kBf16, N, K};
  }

  Machine machine_;
  TestDevice device_;
};

// The start-up sweep of a rollout: whichever kernel a number of rows takes.
TEST_F(CudaScale, ARowGivesTheSameBitsInEveryBatch) {
  const int64_t most = kSmall ? 150 : 4096, N = kSmall ? 264 : 4096, K = kSmall ? 136 : 2048;
  std::vector<DeviceMemory> owned;
  const Matrix x = matrix(most, K, uniform_floats(most * K, 1)), w = matrix(N, K, uniform_floats(N * K, 2));
  const PackedWeight packed = weight(w, owned);
  const Matrix y = matrix(most, N);
  linear_forward({x.ref, packed, y.ref}, ctx());
  for (const int64_t M : {1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 65, 127, 129, 512, 2048}) {
    if (M > most) break;
    const Matrix some = matrix(M, N);
    const int64_t first = most - M;  // the last rows of the batch
    linear_forward({mat(x.ref.f32() + first * K, M, K), packed, some.ref}, ctx());
    EXPECT_TRUE(same_bits(rows_of(some, 0, M), rows_of(y, first, M))) << M << " rows";
  }
}

TEST_F(CudaScale, ARowOfAnExpertGivesTheSameBitsInEveryBatch) {
  const int64_t E = kSmall ? 3 : 32, N = kSmall ? 136 : 2048, K = kSmall ? 72 : 2048, most = E * (kSmall ? 70 : 300);
  std::vector<DeviceMemory> owned;
  std::vector<PackedWeight> experts;
  for (int64_t e = 0; e < E; ++e)
    experts.push_back(weight(matrix(N, K, uniform_floats(N * K, 10 + static_cast<uint64_t>(e))), owned));
  const Matrix x = matrix(most, K, uniform_floats(most * K, 3));
  const auto run = [&](int64_t rows, int64_t each) {  // rows e * (most / E) .. of expert e, `each` of them
    std::vector<int32_t> offset{0}, from;
    for (int64_t e = 0; e < E; ++e) {
      for (int64_t r = 0; r < each; ++r) from.push_back(static_cast<int32_t>(e * (most / E) + r));
      offset.push_back(static_cast<int32_t>(from.size()));
    }
    const DeviceMemory at = allocate(offset.size() * 4, ctx());
    copy_in(at.get(), offset.data(), offset.size() * 4, ctx());
    const Matrix part = matrix(rows, K), y = matrix(rows, N);
    copy_rows({x.ref, from, part.ref, {}}, ctx());
    grouped_linear_forward({part.ref, {static_cast<const int32_t*>(at.get()), offset.size()}, experts, y.ref}, ctx());
    return rows_of(y, 0, rows);
  };
  const Floats all = run(most, most / E);
  for (const int64_t each : {1, 7, 20, 65}) {
    const Floats some = run(E * each, each);
    for (int64_t e = 0; e < E; ++e) {
      const auto want = all.begin() + e * (most / E) * N, got = some.begin() + e * each * N;
      EXPECT_TRUE(same_bits(Floats(got, got + each * N), Floats(want, want + each * N))) << "expert " << e;
    }
  }
}

// A library's products of a model's layer, forward and dx, on this device: admitted or not, the bits stay ours.
TEST_F(CudaScale, ALibraryChangesNoBit) {
  const int64_t most = kSmall ? 140 : 4000, N = kSmall ? 72 : 4096, K = kSmall ? 80 : 2048;
  std::vector<DeviceMemory> owned;
  const Matrix x = matrix(most, K, uniform_floats(most * K, 8)), w = matrix(N, K, uniform_floats(N * K, 9));
  const PackedWeight packed = weight(w, owned);
  TensorRef rows = w.ref;
  rows.data = const_cast<void*>(packed.data), rows.dtype = DType::kBf16;
  const auto run = [&](int64_t M) {
    const Matrix y = matrix(M, N), dx = matrix(M, K);
    linear_forward({mat(x.ref.f32() + (most - M) * K, M, K), packed, y.ref}, ctx());
    LinearBackward back;
    back.dy = y.ref, back.w = rows, back.dx = dx.ref;
    linear_backward(back, ctx());
    return joined({rows_of(y, 0, M), rows_of(dx, 0, M)});
  };
  std::vector<Floats> want;
  for (const int64_t M : {1, 65, 129, 1000, 4000})
    if (M <= most) want.push_back(run(M));
  const LinearShape shape{N, K};
  std::printf("%s\n", cuda::use_library({&shape, 1}, state()).c_str());
  size_t i = 0;
  for (const int64_t M : {1, 65, 129, 1000, 4000}) {
    if (M > most) break;
    EXPECT_TRUE(same_bits(run(M), want[i++])) << M << " rows";
  }
}

// Every layout many times over, all multiprocessors busy: a race between copies and products would show sooner or
// later.
TEST_F(CudaScale, LargeProductsRepeatAndGiveTheBitsOfSmallTiles) {
  const int64_t M = kSmall ? 136 : 2048, N = kSmall ? 264 : 2304, K = kSmall ? 200 : 4096;
  const Matrix a = matrix(M, K, uniform_floats(M * K, 4)), b = matrix(N, K, uniform_floats(N * K, 5));
  const Matrix want = matrix(M, N), got = matrix(M, N);
  for (const bool across_a : {false, true})
    for (const bool across_b : {false, true}) {
      cuda::Product p;
      p.M = M, p.N = N, p.K = K, p.c_row = N;
      p.a = a.ref.f32(), p.a_row = across_a ? 1 : K, p.a_k = across_a ? M : 1;
      p.b = b.ref.f32(), p.b_column = across_b ? 1 : K, p.b_k = across_b ? N : 1;
      p.c = want.ref.f32();
      cuda::multiply_mma(p, state());
      const Floats expected = rows_of(want, 0, M);
      p.c = got.ref.f32();
      for (int i = 0; i < (kSmall ? 1 : 5); ++i)
        for (const auto multiply : {cuda::multiply_mma_tiles, cuda::multiply_wgmma}) {
          if (multiply == cuda::multiply_wgmma && !device_.admits_wgmma()) continue;
          fill_zero(got.memory.get(), static_cast<size_t>(M * N) * 4, ctx());
          multiply(p, state());
          EXPECT_TRUE(same_bits(rows_of(got, 0, M), expected)) << (across_a ? "a across k " : "") << across_b;
        }
    }
}

// A batch whose result has more than 2^31 values: its last rows are those of a small batch.
TEST_F(CudaScale, IndicesGoBeyond32Bits) {
  const int64_t N = kSmall ? 264 : 65664, K = 64, M = kSmall ? 150 : (int64_t{1} << 31) / N + 200;
  const auto bytes = static_cast<size_t>(M * N) * 4;
  if (bytes_free(ctx()) < bytes + bytes / 4) return;  // a small GPU
  std::vector<DeviceMemory> owned;
  const Matrix x = matrix(M, K, uniform_floats(M * K, 6));
  const PackedWeight packed = weight(matrix(N, K, uniform_floats(N * K, 7)), owned);
  const Matrix y = matrix(M, N), some = matrix(100, N);
  linear_forward({x.ref, packed, y.ref}, ctx());
  linear_forward({mat(x.ref.f32() + (M - 100) * K, 100, K), packed, some.ref}, ctx());
  EXPECT_TRUE(same_bits(rows_of(y, M - 100, 100), rows_of(some, 0, 100)));
  silu_forward({y.ref, y.ref}, ctx());
  silu_forward({some.ref, some.ref}, ctx());
  EXPECT_TRUE(same_bits(rows_of(y, M - 100, 100), rows_of(some, 0, 100)));
}

}  // namespace
}  // namespace fulmen::kernels
