#include <algorithm>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/product_few.h"
#include "kernels/cuda/product_library.h"
#include "kernels/cuda/product_lines.cuh"
#include "kernels/cuda/product_wgmma.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;

// Values whose sums cancel and whose exponents lie far apart: where another order or another accumulator shows.
__global__ void probe_kernel(uint16_t* to, int64_t count, uint32_t seed) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    uint64_t x = (static_cast<uint64_t>(i) + 1) * 0x9e3779b97f4a7c15u + seed;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    const uint32_t bits = static_cast<uint32_t>(x >> 32);
    to[i] = static_cast<uint16_t>((bits & 0x8000) | (112 + (bits >> 16) % 31) << 7 | (bits & 0x7f));  // 2^-15 .. 2^15
  }
}

__global__ void differing_kernel(const float* a, const float* b, int64_t count, int32_t* differing) {
  int mine = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kThreads)
    mine += float_to_bits(a[i]) != float_to_bits(b[i]) ? 1 : 0;
  if (mine > 0) atomicAdd(differing, 1);
}

dim3 some_blocks(int64_t count) {
  return dim3(static_cast<unsigned>(std::clamp<int64_t>((count + kThreads - 1) / kThreads, 1, 1024)));
}

// Of the sweep alone: it does not stay in the scratch memory.
class Temporary {
 public:
  explicit Temporary(size_t bytes) { check(cudaMalloc(&data_, bytes), "memory of the sweep of a library's products"); }
  ~Temporary() { cudaFree(data_); }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

void fill(float* y, int64_t count, State& state) {  // what the product is added to: a float of four times 0x3f
  check(cudaMemsetAsync(y, 0x3f, static_cast<size_t>(count) * 4, state.stream()), "sweep of a library's products");
}

}  // namespace

Product own_product(const LibraryProduct& p) {
  Product own;
  own.a_rounded = static_cast<const uint16_t*>(p.x), own.a_rounded_row = p.x_row;
  own.b = p.weight, own.b_type = DType::kBf16;
  (p.shape.across ? own.b_k : own.b_column) = p.weight_line;
  (p.shape.across ? own.b_column : own.b_k) = 1;
  own.c = p.y, own.c_row = p.y_row, own.M = p.M, own.N = p.shape.N, own.K = p.shape.K;
  own.accumulate = p.accumulate;
  return own;
}

bool LibraryProducts::run(const LibraryAlgorithm& algorithm, const LibraryProduct& p, State& state) {
  const std::optional<size_t> bytes = library_->workspace(algorithm, p);
  if (!bytes || *bytes > kLibraryWorkspace) return false;
  State::Frame frame(state);
  library_->multiply(algorithm, p, frame.take<char>(static_cast<int64_t>(*bytes)), *bytes, state);
  return true;
}

// `p` is of `most` rows, `want` what own kernels make of them. The rows of a smaller batch are the last ones, so that a
// row has another place in each.
bool LibraryProducts::passes(const LibraryAlgorithm& algorithm, LibraryProduct p, const float* want, int64_t most,
                             std::span<const int64_t> rows, State& state) {
  State::Frame frame(state);
  auto* differing = frame.take<int32_t>(1);
  const auto* x = static_cast<const uint16_t*>(p.x);
  bool useful = false;
  for (const int64_t M : rows) {
    const int64_t count = M * p.shape.N;
    p.M = M, p.x = x + (most - M) * p.x_row;
    fill(p.y, count, state);
    if (!run(algorithm, p, state)) continue;  // own kernels will do this number of rows
    useful |= M > kFewProductRows;
    check(cudaMemsetAsync(differing, 0, sizeof(int32_t), state.stream()), "sweep of a library's products");
    launch(state, "sweep of a library's products", differing_kernel, some_blocks(count), kThreads, 0, p.y,
           want + (most - M) * p.shape.N, count, differing);
    int32_t found = 0;
    check(cudaMemcpyAsync(&found, differing, sizeof found, cudaMemcpyDeviceToHost, state.stream()), "sweep");
    state.wait();
    if (found != 0) return false;
  }
  return useful;
}

void LibraryProducts::admit(const LibraryShape& shape, State& state, std::span<const int64_t> rows) {
  if (std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.shape == shape; })) return;
  Entry& entry = entries_.emplace_back(Entry{shape, {}});
  if (shape.N % 8 != 0 || shape.K % 8 != 0 || shape.N < 64 || shape.K < 64) return;
  const int64_t most = rows.back(), N = shape.N, K = shape.K;
  Temporary x(static_cast<size_t>(most * K) * 2), weight(static_cast<size_t>(N * K) * 2);
  Temporary y(static_cast<size_t>(most * N) * 4), want(static_cast<size_t>(most * N) * 4);
  const auto probe = [&](uint16_t* to, int64_t count, uint32_t seed) {
    launch(state, "sweep of a library's products", probe_kernel, some_blocks(count), kThreads, 0, to, count, seed);
  };
  probe(x.as<uint16_t>(), most * K, 1), probe(weight.as<uint16_t>(), N * K, 2);
  LibraryProduct p{shape, most, x.as<void>(), K, weight.as<void>(), shape.across ? N : K, want.as<float>(), N, false};
  const std::vector<LibraryAlgorithm> algorithms = library_->algorithms(p, kLibraryWorkspace);
  std::vector<bool> passed(algorithms.size(), true);
  for (const bool accumulate : {false, true}) {  // a layer's dx may be added to others
    p.accumulate = accumulate, p.y = want.as<float>();
    fill(p.y, most * N, state);
    const Product own = own_product(p);
    state.wgmma_admitted() ? multiply_wgmma(own, state) : multiply_mma_tiles(own, state);
    p.y = y.as<float>();
    for (size_t i = 0; i < algorithms.size(); ++i) {
      if (!passed[i]) continue;
      passed[i] = passes(algorithms[i], p, want.as<float>(), most, rows, state);
      if (passed[i] && accumulate) {
        entry.pinned = algorithms[i];
        break;
      }
    }
  }
  state.wait();
}

bool LibraryProducts::multiply(const Product& p, State& state) {
  if (p.groups != Groups::kNone || p.M <= kFewProductRows || p.b_type != DType::kBf16 || p.a_k != 1) return false;
  if (p.b_k != 1 && p.b_column != 1) return false;
  const LibraryShape shape{p.N, p.K, p.b_k != 1};
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.shape == shape; });
  const int64_t line = shape.across ? p.b_k : p.b_column;
  if (found == entries_.end() || !found->pinned || !aligned(p.b) || line % 8 != 0 || !aligned(p.c) || p.c_row % 4 != 0)
    return false;
  State::Frame frame(state);
  const Lines x = make_lines(left_operand(p), p, frame, state);
  return run(*found->pinned, {shape, p.M, x.data, x.stride, p.b, line, p.c, p.c_row, p.accumulate}, state);
}

std::string LibraryProducts::describe() const {
  std::string text = library_->name();
  const char* before = ": ";
  for (const Entry& e : entries_) {
    text += before + std::to_string(e.shape.N) + " x " + std::to_string(e.shape.K) + (e.shape.across ? " (dx) " : " ") +
            (e.pinned ? "by " + e.pinned->name : "own kernels");
    before = ", ";
  }
  return text;
}

std::string use_library(std::span<const LinearShape> shapes, State& state) {
  if (state.library() == nullptr) {
    std::string why;
    std::unique_ptr<ProductLibrary> library = open_cublaslt(why);
    if (library == nullptr) return "own kernels: " + why;
    state.set_library(std::make_unique<LibraryProducts>(std::move(library)));
  }
  for (const LinearShape& s : shapes) {
    state.library()->admit({s.N, s.K, false}, state);
    state.library()->admit({s.K, s.N, true}, state);
  }
  return state.library()->describe();
}

}  // namespace fulmen::kernels::cuda
