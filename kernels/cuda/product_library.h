#pragma once
// bf16 products of many rows by a library, cuBLASLt, where this device has shown that one of its algorithms gives the
// bits of our own kernels (product.h).
//
// A library does not promise in which order it adds, nor that the number of rows leaves it alone. So its algorithms for
// a width and a depth (N, K) are tried in the library's own order, splits of the sum left out, on data whose sums
// cancel: the first one whose rows have our bits for every number of rows in kSweepRows is pinned to (N, K), hence M =
// 1 equals M = many. Speed decides nothing. As the bits are ours, own kernels stay free to do what they do better (few
// rows) or what an algorithm refuses, and a run is the same with this library, another version of it, or none.

#include <cuda_runtime.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/product.h"
#include "kernels/device.h"

namespace fulmen::kernels::cuda {

// y (M, N) = x (M, K) times a weight: (N, K), or where it stands across k (dx of a layer) (K, N).
struct LibraryShape {
  int64_t N = 0, K = 0;
  bool across = false;
  bool operator==(const LibraryShape&) const = default;
};

struct LibraryProduct {  // of device memory; x and weight bf16 at a multiple of 16 bytes, lines of 8 n values
  LibraryShape shape;
  int64_t M = 0;
  const void* x = nullptr;
  int64_t x_row = 0;
  const void* weight = nullptr;
  int64_t weight_line = 0;
  float* y = nullptr;  // at a multiple of 16 bytes, rows of 4 n values
  int64_t y_row = 0;
  bool accumulate = false;
};

Product own_product(const LibraryProduct& p);  // the same, for our kernels of large tiles

struct LibraryAlgorithm {
  uint64_t code[8] = {};  // the library's own
  std::string name;
};

class ProductLibrary {
 public:
  virtual ~ProductLibrary() = default;
  virtual std::string name() const = 0;
  // With one sum over k and no more than `workspace` bytes, for `rows` rows, the library's first choice first.
  virtual std::vector<LibraryAlgorithm> algorithms(const LibraryProduct& p, size_t workspace) = 0;
  // Bytes that it would need; nothing where it does not do such a product.
  virtual std::optional<size_t> workspace(const LibraryAlgorithm& algorithm, const LibraryProduct& p) = 0;
  virtual void multiply(const LibraryAlgorithm& algorithm, const LibraryProduct& p, void* workspace, size_t bytes,
                        State& state) = 0;
};

// libcublasLt of the toolkit's version. Null where there is none that works, and why.
std::unique_ptr<ProductLibrary> open_cublaslt(std::string& why);

constexpr int64_t kSweepRows[] = {1, 2, 3, 7, 8, 16, 17, 31, 33, 64, 65, 127, 128, 129, 257, 500, 512, 1000, 1024};
constexpr size_t kLibraryWorkspace = size_t{32} << 20;

class LibraryProducts {
 public:
  explicit LibraryProducts(std::unique_ptr<ProductLibrary> library) : library_(std::move(library)) {}
  // Tries a shape once. `rows` ascending; more than kFewProductRows at the end.
  void admit(const LibraryShape& shape, State& state, std::span<const int64_t> rows = kSweepRows);
  bool multiply(const Product& p, State& state);  // false: nothing was done, own kernels must
  std::string describe() const;                   // "cuBLASLt 13.1.0: 4096 x 2048 by ..., 2048 x 4096 own kernels"

 private:
  struct Entry {
    LibraryShape shape;
    std::optional<LibraryAlgorithm> pinned;
  };
  bool passes(const LibraryAlgorithm& algorithm, LibraryProduct p, const float* want, int64_t most,
              std::span<const int64_t> rows, State& state);
  bool run(const LibraryAlgorithm& algorithm, const LibraryProduct& p, State& state);

  std::unique_ptr<ProductLibrary> library_;
  std::vector<Entry> entries_;
};

// Device::use_library: opens the library once and tries each shape, forward and dx.
std::string use_library(std::span<const LinearShape> shapes, State& state);

}  // namespace fulmen::kernels::cuda
