#include <cmath>

#include "kernels/cpu/entries.h"
#include "kernels/cpu/row_loop.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int64_t kChunk = 4096;
constexpr int64_t kChunkGrain = 16;

FULMEN_INLINE int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }

// A list of tensors as one row of chunks, so that threads share the work evenly whatever the sizes: tensor i owns
// chunks [first[i], first[i + 1]).
struct ChunkMap {
  int64_t* first;
  size_t tensors;

  int64_t chunks() const { return first[tensors]; }
  size_t tensor_of(int64_t chunk) const {
    size_t low = 0, high = tensors;
    while (high - low > 1) {
      const size_t mid = (low + high) / 2;
      if (first[mid] <= chunk)
        low = mid;
      else
        high = mid;
    }
    return low;
  }
};

// f(tensor, begin, end) for the elements of chunks [chunk, last), in pieces that end where a tensor ends.
template <class Size, class F>
FULMEN_INLINE void each_run(const ChunkMap& map, Size size, int64_t chunk, int64_t last, F f) {
  for (size_t i = map.tensor_of(chunk); chunk < last; ++i) {
    const int64_t stop = smaller(map.first[i + 1], last);
    if (stop <= chunk) continue;
    f(i, (chunk - map.first[i]) * kChunk, smaller((stop - map.first[i]) * kChunk, size(i)));
    chunk = stop;
  }
}

template <class Size>
ChunkMap map_chunks(size_t tensors, Size size, int64_t* memory) {
  memory[0] = 0;
  for (size_t i = 0; i < tensors; ++i) memory[i + 1] = memory[i] + chunks_of(size(i));
  return {memory, tensors};
}

float sum_of_squares(const float* x, int64_t n) {
  return row_sum(n, [&](int64_t i, int k, Vec acc) FULMEN_INLINE_LAMBDA {
    const Vec v = load_some(x + i, k);
    return fma(v, v, acc);
  });
}

void adamw_run(const AdamW& a, int64_t begin, int64_t end) {
  float *p = a.param.f32() + begin, *g = a.grad.f32() + begin, *m = a.m.f32() + begin, *v = a.v.f32() + begin;
  const double t = (double)a.step;
  const Vec b1 = set1(a.beta1), c1 = set1(1.0f - a.beta1), b2 = set1(a.beta2), c2 = set1(1.0f - a.beta2);
  const Vec unbias1 = set1((float)(1.0 / (1.0 - std::pow((double)a.beta1, t))));
  const Vec unbias2 = set1((float)(1.0 / (1.0 - std::pow((double)a.beta2, t))));
  const Vec lr = set1(a.lr), eps = set1(a.eps), decay = set1(a.weight_decay), scale = set1(a.grad_scale);
  each_vec(end - begin, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
    const Vec gi = mul(load_some(g + i, n), scale), pi = load_some(p + i, n);
    const Vec mi = fma(b1, load_some(m + i, n), mul(c1, gi));
    const Vec vi = fma(b2, load_some(v + i, n), mul(mul(c2, gi), gi));
    const Vec direction = div(mul(mi, unbias1), add(vsqrt(mul(vi, unbias2)), eps));
    store_some(m + i, mi, n);
    store_some(v + i, vi, n);
    store_some(p + i, fnma(lr, fma(decay, pi, direction), pi), n);
    if (a.zero_grad) store_some(g + i, zero(), n);
  });
}

}  // namespace

double global_sum_of_squares(std::span<const TensorRef> grads, Context& ctx) {
  const auto size = [&](size_t i) { return grads[i].dim[0]; };
  int64_t chunks = 0;
  for (size_t i = 0; i < grads.size(); ++i) chunks += chunks_of(size(i));
  auto* memory = (int64_t*)ctx.pool->scratch(0, (grads.size() + 1) * sizeof(int64_t) + chunks * sizeof(float));
  const ChunkMap map = map_chunks(grads.size(), size, memory);
  auto* sums = (float*)(memory + grads.size() + 1);
  ctx.pool->parallel_for(chunks, kChunkGrain, [&](int64_t first, int64_t last, int) {
    each_run(map, size, first, last, [&](size_t i, int64_t begin, int64_t end) {
      float* sum = sums + map.first[i] + begin / kChunk;
      for (; begin < end; begin += kChunk)
        *sum++ = sum_of_squares(grads[i].f32() + begin, smaller(kChunk, end - begin));
    });
  });
  double total = 0;
  for (int64_t c = 0; c < chunks; ++c) total += (double)sums[c];
  return total;
}

void adamw_step(std::span<const AdamW> tensors, Context& ctx) {
  const auto size = [&](size_t i) { return tensors[i].param.dim[0]; };
  auto* memory = (int64_t*)ctx.pool->scratch(0, (tensors.size() + 1) * sizeof(int64_t));
  const ChunkMap map = map_chunks(tensors.size(), size, memory);
  ctx.pool->parallel_for(map.chunks(), kChunkGrain, [&](int64_t first, int64_t last, int) {
    each_run(map, size, first, last, [&](size_t i, int64_t begin, int64_t end) { adamw_run(tensors[i], begin, end); });
  });
}

}  // namespace fulmen::kernels::FULMEN_ISA
