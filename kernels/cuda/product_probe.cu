// What the device must show before work starts (product_wgmma.h).

#include <cstring>
#include <random>
#include <vector>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/product_few.h"
#include "kernels/cuda/product_wgmma.h"

namespace fulmen::kernels::cuda {
namespace {

// Values whose sums cancel and whose exponents lie far apart: where an accumulator of other width shows.
std::vector<uint16_t> probe_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> v(static_cast<size_t>(count));
  for (uint16_t& x : v) {
    const uint32_t bits = random();
    x = static_cast<uint16_t>((bits & 0x8000) | (112 + bits % 31) << 7 | (bits >> 20 & 0x7f));  // 2^-15 .. 2^15
  }
  return v;
}

std::vector<float> widened(const std::vector<uint16_t>& v) {
  std::vector<float> f;
  for (const uint16_t x : v) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float y;
    std::memcpy(&y, &bits, 4);
    f.push_back(y);
  }
  return f;
}

template <class T>
T* on_device(const std::vector<T>& host, State::Frame& frame, State& state) {
  T* to = frame.take<T>(static_cast<int64_t>(host.size()));
  check(cudaMemcpyAsync(to, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice, state.stream()), "probe");
  state.wait();
  return to;
}

std::vector<float> result_of(const float* c, int64_t count, State& state) {
  std::vector<float> host(static_cast<size_t>(count));
  check(cudaMemcpyAsync(host.data(), c, host.size() * 4, cudaMemcpyDeviceToHost, state.stream()), "probe");
  state.wait();
  return host;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// C (M, N) of random A and B, lines along or across k.
struct Probe {
  Product product;
  float* c;
};
Probe make_probe(int64_t M, int64_t N, int64_t K, bool across_a, bool across_b, State::Frame& frame, State& state) {
  const auto seed = static_cast<uint32_t>(M + 2 * N + 3 * K + (across_a ? 7 : 0) + (across_b ? 11 : 0));
  Probe probe{};
  Product& p = probe.product;
  p.M = M, p.N = N, p.K = K;
  p.a = on_device(widened(probe_values(M * K, seed)), frame, state);
  p.a_row = across_a ? 1 : K, p.a_k = across_a ? M : 1;
  p.b = on_device(probe_values(N * K, seed + 1), frame, state), p.b_type = DType::kBf16;
  p.b_column = across_b ? 1 : K, p.b_k = across_b ? N : 1;
  p.c = probe.c = frame.take<float>(M * N), p.c_row = N;
  return probe;
}

bool wgmma_agrees(State& state) {
  for (const int64_t N : {128, 264})
    for (const bool across_a : {false, true})
      for (const bool across_b : {false, true}) {
        State::Frame frame(state);
        const int64_t M = 136, K = 200;  // rest tiles in all three
        const Probe probe = make_probe(M, N, K, across_a, across_b, frame, state);
        multiply_mma(probe.product, state);
        const std::vector<float> want = result_of(probe.c, M * N, state);
        multiply_wgmma(probe.product, state);
        if (!same(result_of(probe.c, M * N, state), want)) return false;
      }
  return true;
}

// Rows and columns of a product change places in the kernels of decode: the same bits?
bool transpose_agrees(State& state) {
  for (const int64_t M : {1, 16, 31}) {
    State::Frame frame(state);
    const int64_t N = 80, K = 456;
    const Probe probe = make_probe(M, N, K, false, false, frame, state);
    multiply_mma(probe.product, state);
    const std::vector<float> want = result_of(probe.c, M * N, state);
    multiply_few({&probe.product, 1}, state);
    if (!same(result_of(probe.c, M * N, state), want)) return false;
  }
  return true;
}

}  // namespace

void admit_wgmma(State& state, bool hopper) {
  FULMEN_CHECK(transpose_agrees(state),
               "cuda: on this GPU a bf16 product and its transpose differ in their bits: rollout and learner would not "
               "agree. Use device: cpu, or bf16 neither for weights nor for the cache");
  state.set_wgmma_admitted(hopper && wgmma_agrees(state));
}

}  // namespace fulmen::kernels::cuda
