#include "library_double.h"

#include "kernels/cuda/product_library.h"

namespace fulmen::emulation {

LibraryDouble& library_double() {
  static LibraryDouble library;
  return library;
}

}  // namespace fulmen::emulation

namespace fulmen::kernels::cuda {
namespace {

class Double : public ProductLibrary {
 public:
  std::string name() const override { return "library double 1.0"; }

  std::vector<LibraryAlgorithm> algorithms(const LibraryProduct&, size_t) override {
    std::vector<LibraryAlgorithm> list;
    for (uint64_t i = 0; i < emulation::library_double().algorithms.size(); ++i)
      list.push_back({{i}, "algorithm " + std::to_string(i)});
    return list;
  }

  std::optional<size_t> workspace(const LibraryAlgorithm& algorithm, const LibraryProduct& p) override {
    const auto& a = emulation::library_double().algorithms[algorithm.code[0]];
    if (p.M >= a.refuses_from) return std::nullopt;
    return a.workspace;
  }

  void multiply(const LibraryAlgorithm& algorithm, const LibraryProduct& p, void*, size_t, State& state) override {
    const auto& a = emulation::library_double().algorithms[algorithm.code[0]];
    ++emulation::library_double().products;
    Product own = own_product(p);
    const bool splits = (a.splits_many_rows && p.M >= 100) || (a.splits_when_adding && p.accumulate);
    if (!splits) return multiply_mma_tiles(own, state);
    Product rest = own;
    own.K = p.shape.K / 16 * 8, rest.K -= own.K, rest.accumulate = true;
    rest.a_rounded += own.K;
    rest.b = static_cast<const uint16_t*>(own.b) + own.K * own.b_k;
    multiply_mma_tiles(own, state);
    multiply_mma_tiles(rest, state);
  }
};

}  // namespace

std::unique_ptr<ProductLibrary> open_cublaslt(std::string& why) {
  if (!emulation::library_double().installed) return why = "libcublasLt.so.13 cannot be opened", nullptr;
  return std::make_unique<Double>();
}

}  // namespace fulmen::kernels::cuda
