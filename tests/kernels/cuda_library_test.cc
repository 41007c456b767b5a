// Products of a library are taken only where they have the bits of our own kernels for every number of rows; what does
// not pass leaves no trace.

#include <gtest/gtest.h>

#include "cuda_test_device.h"
#include "kernels/cuda/product_few.h"
#include "kernels/cuda/product_library.h"
#include "library_double.h"
#include "tests/kernels/bf16_values.h"
#include "tests/kernels/properties.h"

namespace fulmen::kernels {
namespace {

using emulation::library_double;
using emulation::LibraryAlgorithmDouble;

constexpr int64_t kRows[] = {1, 2, 17, 65, 129};

class CudaLibrary : public ::testing::Test {
 protected:
  CudaLibrary() : machine_(1), device_(machine_.pool) { library_double() = {}; }
  ~CudaLibrary() override { library_double() = {}; }
  cuda::State& state() { return cuda::state_of(device_.context()); }

  // What was chosen for a weight of 72 x 200.
  std::string chosen(std::vector<LibraryAlgorithmDouble> algorithms, bool across = false) {
    library_double().algorithms = std::move(algorithms);
    std::string why;
    cuda::LibraryProducts products(cuda::open_cublaslt(why));
    products.admit({72, 200, across}, state(), kRows);
    return products.describe();
  }

  Machine machine_;
  TestDevice device_;
};

TEST_F(CudaLibrary, TheFirstAlgorithmWithOurBitsForEveryNumberOfRowsIsPinned) {
  EXPECT_EQ(chosen({{}}), "library double 1.0: 72 x 200 by algorithm 0");
  EXPECT_EQ(chosen({{.splits_many_rows = true}, {}, {}}), "library double 1.0: 72 x 200 by algorithm 1");
  EXPECT_EQ(chosen({{.splits_many_rows = true}, {}}, true), "library double 1.0: 72 x 200 (dx) by algorithm 1");
  EXPECT_EQ(chosen({{.splits_when_adding = true}, {}}, true), "library double 1.0: 72 x 200 (dx) by algorithm 1");
}

TEST_F(CudaLibrary, WhereNonePassesOwnKernelsStay) {
  EXPECT_EQ(chosen({{.splits_many_rows = true}}), "library double 1.0: 72 x 200 own kernels");
  EXPECT_EQ(chosen({}), "library double 1.0: 72 x 200 own kernels");
}

// One with our bits that wants too much workspace is not run, at no number of rows.
TEST_F(CudaLibrary, AnAlgorithmThatWantsTooMuchWorkspaceIsNeverRun) {
  EXPECT_EQ(chosen({{.workspace = cuda::kLibraryWorkspace + 1}}), "library double 1.0: 72 x 200 own kernels");
  EXPECT_EQ(library_double().products, 0);
  EXPECT_EQ(chosen({{.workspace = cuda::kLibraryWorkspace + 1}, {.workspace = cuda::kLibraryWorkspace}}),
            "library double 1.0: 72 x 200 by algorithm 1");
}

// A model's layer: the library takes many rows, few stay with our kernel, and no bit tells, backward included. An
// algorithm that refuses a number of rows leaves them to our kernels.
TEST_F(CudaLibrary, LayersHaveTheSameBitsWithAndWithoutIt) {
  const int64_t N = 72, K = 136;
  Values x(300 * K, 1), w(N * K, 2), dy(300 * N, 3);
  const PackedWeight weight{w.bf16(), DType::kBf16, N, K};
  TensorRef rows = mat(w.fp32.data(), N, K);
  rows.data = const_cast<uint16_t*>(w.bf16()), rows.dtype = DType::kBf16;
  const auto run = [&](int64_t T) {
    Floats y(static_cast<size_t>(T * N)), dx = normal_floats(T * K, 4);
    linear_forward({mat(x.fp32.data(), T, K), weight, mat(y.data(), T, N)}, device_.context());
    LinearBackward back;
    back.dy = mat(dy.fp32.data(), T, N), back.w = rows, back.dx = mat(dx.data(), T, K), back.dx_accumulate = true;
    linear_backward(back, device_.context());
    return joined({y, dx});
  };
  std::vector<Floats> want;
  for (const int64_t T : {5, 70, 300}) want.push_back(run(T));
  library_double().algorithms = {{.splits_many_rows = true}, {.refuses_from = 200}};
  const LinearShape shape{N, K};
  EXPECT_EQ(cuda::use_library({&shape, 1}, state()),
            "library double 1.0: 72 x 136 by algorithm 1, 136 x 72 (dx) by algorithm 1");
  size_t i = 0;
  for (const auto& [T, taken] : {std::pair{5, 0}, {70, 2}, {300, 0}}) {
    library_double().products = 0;
    EXPECT_TRUE(same_bits(run(T), want[i++])) << T << " rows";
    EXPECT_EQ(library_double().products, taken) << T << " rows";
  }
  library_double().products = 0;
  cuda::use_library({&shape, 1}, state());
  EXPECT_EQ(library_double().products, 0) << "tried twice";
}

TEST_F(CudaLibrary, WithoutOneOwnKernelsAreUsedAndSaid) {
  library_double().installed = false;
  const LinearShape shape{72, 136};
  EXPECT_EQ(cuda::use_library({&shape, 1}, state()), "own kernels: libcublasLt.so.13 cannot be opened");
  EXPECT_EQ(Device("cpu", machine_.pool).use_library({&shape, 1}), "own kernels: there is no library for this device");
}

}  // namespace
}  // namespace fulmen::kernels
