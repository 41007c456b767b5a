#include <cmath>
#include <vector>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int64_t kChunk = 4096;
constexpr int kThreads = kRowThreads * kBlockRows;

int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }

// One entry a tensor: it owns chunks [first, first of the next).
struct SquareItem {
  int64_t first;
  const float* x;
  int64_t n;
};

struct AdamItem {
  int64_t first;
  float *p, *g, *m, *v;
  int64_t n;
  float lr, b1, c1, b2, c2, unbias1, unbias2, eps, decay, scale;
  int32_t zero_grad;
};

template <class Item>
__device__ int item_of(const Item* items, int count, int64_t chunk) {
  int low = 0, high = count;
  while (high - low > 1) {
    const int mid = (low + high) / 2;
    if (items[mid].first <= chunk)
      low = mid;
    else
      high = mid;
  }
  return low;
}

// 64 threads a chunk, in the pattern of row_sum.
__global__ void squares_kernel(const SquareItem* items, int count, int64_t chunks, float* sums) {
  const int j = static_cast<int>(threadIdx.x) % kRowThreads, group = static_cast<int>(threadIdx.x) / kRowThreads;
  const int64_t chunk = static_cast<int64_t>(blockIdx.x) * kBlockRows + group;
  float chain = 0;
  if (chunk < chunks) {
    const SquareItem item = items[item_of(items, count, chunk)];
    const int64_t begin = (chunk - item.first) * kChunk, n = item.n - begin < kChunk ? item.n - begin : kChunk;
    for (int64_t i = j; i < n; i += kRowThreads) chain = fma32(item.x[begin + i], item.x[begin + i], chain);
  }
  const float sum = sum_of_64(chain, shared_memory<float>() + group * kRowThreads, j);
  if (chunk < chunks && j == 0) sums[chunk] = sum;
}

__device__ void update(const AdamItem& a, float& p, float& gradient, float& m_at, float& v_at) {
  const float g = gradient * a.scale;
  const float m = fma32(a.b1, m_at, a.c1 * g), v = fma32(a.b2, v_at, (a.c2 * g) * g);
  const float direction = (m * a.unbias1) / (sqrtf(v * a.unbias2) + a.eps);
  m_at = m;
  v_at = v;
  p = fma32(-a.lr, fma32(a.decay, p, direction), p);
  if (a.zero_grad != 0) gradient = 0;
}

// 28 bytes an element and next to no arithmetic: four elements a thread at once, so eight loads are on their way.
__global__ void __launch_bounds__(kThreads) adamw_kernel(const AdamItem* items, int count) {
  const int64_t chunk = blockIdx.x;
  const AdamItem a = items[item_of(items, count, chunk)];
  const int64_t begin = (chunk - a.first) * kChunk, end = begin + kChunk < a.n ? begin + kChunk : a.n;
  const auto address = [](const float* x) { return reinterpret_cast<uintptr_t>(x); };
  const bool wide = (address(a.p) | address(a.g) | address(a.m) | address(a.v)) % 16 == 0;
  const int64_t fours = wide ? begin + (end - begin) / 4 * 4 : begin;
  FULMEN_UNROLL_TWICE
  for (int64_t i = begin + 4 * threadIdx.x; i < fours; i += 4 * kThreads) {
    const auto at = [i](float* x) { return reinterpret_cast<float4*>(x + i); };
    float4 p = *at(a.p), g = *at(a.g), m = *at(a.m), v = *at(a.v);
    update(a, p.x, g.x, m.x, v.x);
    update(a, p.y, g.y, m.y, v.y);
    update(a, p.z, g.z, m.z, v.z);
    update(a, p.w, g.w, m.w, v.w);
    *at(a.p) = p, *at(a.m) = m, *at(a.v) = v;
    if (a.zero_grad != 0) *at(a.g) = g;
  }
  for (int64_t i = fours + threadIdx.x; i < end; i += kThreads) update(a, a.p[i], a.g[i], a.m[i], a.v[i]);
}

}  // namespace

// The chunk sums are added on the host, in fp64 and in order: some hundred thousand of them for a model of 2 B.
double global_sum_of_squares(std::span<const TensorRef> grads, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  std::vector<SquareItem> items;
  int64_t chunks = 0;
  for (const TensorRef& g : grads) {
    if (g.dim[0] == 0) continue;
    items.push_back({chunks, g.f32(), g.dim[0]});
    chunks += chunks_of(g.dim[0]);
  }
  if (chunks == 0) return 0;
  auto* sums = frame.take<float>(chunks);
  launch(state, "global_sum_of_squares", squares_kernel,
         dim3(static_cast<unsigned>((chunks + kBlockRows - 1) / kBlockRows)), kThreads, kThreads * sizeof(float),
         state.upload(std::span<const SquareItem>(items)), static_cast<int>(items.size()), chunks, sums);
  std::vector<float> host(static_cast<size_t>(chunks));
  cuda::copy_out(host.data(), sums, host.size() * sizeof(float), ctx);
  double total = 0;
  for (const float s : host) total += static_cast<double>(s);
  return total;
}

void adamw_step(std::span<const AdamW> tensors, Context& ctx) {
  State& state = state_of(ctx);
  std::vector<AdamItem> items;
  int64_t chunks = 0;
  for (const AdamW& t : tensors) {
    const int64_t n = t.param.dim[0];
    if (n == 0) continue;
    const auto unbias = [&t](float beta) {
      return static_cast<float>(1.0 / (1.0 - std::pow(static_cast<double>(beta), static_cast<double>(t.step))));
    };
    items.push_back({chunks, t.param.f32(), t.grad.f32(), t.m.f32(), t.v.f32(), n, t.lr, t.beta1, 1.0f - t.beta1,
                     t.beta2, 1.0f - t.beta2, unbias(t.beta1), unbias(t.beta2), t.eps, t.weight_decay, t.grad_scale,
                     t.zero_grad ? 1 : 0});
    chunks += chunks_of(n);
  }
  launch(state, "adamw_step", adamw_kernel, dim3(static_cast<unsigned>(chunks)), kThreads, 0,
         state.upload(std::span<const AdamItem>(items)), static_cast<int>(items.size()));
}

}  // namespace fulmen::kernels::cuda
