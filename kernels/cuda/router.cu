#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

// One warp a token. Each lane remembers what it took of its own logits in `taken`, bit i for expert lane + 32 i.
__global__ void route_kernel(const float* logits, int64_t ld, int64_t T, int E, int top_k, int32_t* expert,
                             float* weight, int64_t ld_weight) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t t = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (t >= T) return;  // whole warps
  const float* x = logits + t * ld;
  uint32_t taken = 0;
  float first = 0, sum = 0;
  for (int j = 0; j < top_k; ++j) {
    int best = -1;
    float best_x = 0;
    for (int e = lane, i = 0; e < E; e += kWarp, ++i)
      if (!(taken >> i & 1) && (best < 0 || x[e] > best_x)) best = e, best_x = x[e];
    for (int s = kWarp / 2; s > 0; s >>= 1) {
      const int other = __shfl_xor_sync(0xffffffffu, best, s);
      const float other_x = __shfl_xor_sync(0xffffffffu, best_x, s);
      // Larger x first, ties to the lower id; what is not a number loses to what is, ids stay distinct.
      const bool wins = other >= 0 && (best < 0 || other_x > best_x || (!(best_x > other_x) && other < best));
      if (wins) best = other, best_x = other_x;
    }
    if (best % kWarp == lane) taken |= 1u << (best / kWarp);
    if (j == 0) first = best_x;
    const float e = exp32(best_x - first);
    sum = sum + e;
    if (lane == 0) expert[t * top_k + j] = best, weight[t * ld_weight + j] = e;
  }
  if (lane == 0)
    for (int j = 0; j < top_k; ++j) weight[t * ld_weight + j] = weight[t * ld_weight + j] / sum;
}

__global__ void route_backward_kernel(const float* weight, int64_t ld_w, const float* dweight, int64_t ld_dw,
                                      const int32_t* expert, int64_t T, int E, int top_k, float* dlogits, int64_t ld) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t t = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
  if (t >= T) return;
  const float *w = weight + t * ld_w, *dw = dweight + t * ld_dw;
  float mean = 0;
  for (int j = 0; j < top_k; ++j) mean = fma32(w[j], dw[j], mean);
  for (int e = lane; e < E; e += kWarp) dlogits[t * ld + e] = 0;
  __syncwarp();
  for (int j = lane; j < top_k; j += kWarp) dlogits[t * ld + expert[t * top_k + j]] = w[j] * (dw[j] - mean);
}

__global__ void count_kernel(const int32_t* expert, int64_t pairs, int32_t* offset) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < pairs) atomicAdd(&offset[expert[i] + 1], 1);  // integers: no order shows
}

__global__ void prefix_kernel(int32_t* offset, int E) {
  for (int e = 0; e < E; ++e) offset[e + 1] += offset[e];
}

// Block e places the pairs of expert e, in the order of the pairs.
__global__ void place_kernel(const int32_t* expert, int64_t pairs, const int32_t* offset, int32_t* order) {
  int32_t* warp_count = shared_memory<int32_t>();  // (kThreads / 32)
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  int32_t at = offset[blockIdx.x];
  const int32_t end = offset[blockIdx.x + 1];
  for (int64_t first = 0; first < pairs && at < end; first += kThreads) {
    const int64_t i = first + threadIdx.x;
    const bool mine = i < pairs && expert[i] == static_cast<int32_t>(blockIdx.x);
    const unsigned votes = __ballot_sync(0xffffffffu, mine);
    if (lane == 0) warp_count[warp] = __popc(votes);
    __syncthreads();
    int32_t before = at;
    for (int w = 0; w < warp; ++w) before += warp_count[w];
    if (mine) order[before + __popc(votes & ((1u << lane) - 1))] = static_cast<int32_t>(i);
    for (int w = 0; w < kThreads / kWarp; ++w) at += warp_count[w];
    __syncthreads();
  }
}

__global__ void gather_kernel(const float* x, int64_t ld_x, const int32_t* order, int top_k, float* y, int64_t ld_y,
                              int64_t C) {
  const int64_t r = blockIdx.x;
  x += order[r] / top_k * ld_x;
  for (int64_t c = threadIdx.x; c < C; c += kThreads) y[r * ld_y + c] = x[c];
}

__global__ void position_kernel(const int32_t* order, int64_t pairs, int32_t* position) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r < pairs) position[order[r]] = static_cast<int32_t>(r);
}

__global__ void gather_backward_kernel(const float* dy, int64_t ld_dy, const int32_t* position, int top_k, float* dx,
                                       int64_t ld_dx, int64_t C) {
  const int64_t t = blockIdx.x;
  const int32_t* at = position + t * top_k;
  for (int64_t c = threadIdx.x; c < C; c += kThreads) {
    float sum = dy[at[0] * ld_dy + c];
    for (int j = 1; j < top_k; ++j) sum = sum + dy[at[j] * ld_dy + c];
    dx[t * ld_dx + c] = sum;
  }
}

__global__ void combine_kernel(const float* f, int64_t ld_f, const int32_t* position, const float* weight, int64_t ld_w,
                               int top_k, float* y, int64_t ld_y, int64_t C) {
  const int64_t t = blockIdx.x;
  const int32_t* at = position + t * top_k;
  const float* w = weight + t * ld_w;
  for (int64_t c = threadIdx.x; c < C; c += kThreads) {
    float sum = w[0] * f[at[0] * ld_f + c];
    for (int j = 1; j < top_k; ++j) sum = fma32(w[j], f[at[j] * ld_f + c], sum);
    y[t * ld_y + c] = sum;
  }
}

// 64 threads a row of the sorted order: dweight is one row sum.
__global__ void combine_backward_kernel(const float* dy, int64_t ld_dy, const float* f, int64_t ld_f,
                                        const int32_t* order, const float* weight, int64_t ld_w, int top_k, float* df,
                                        int64_t ld_df, float* dweight, int64_t ld_dw, int64_t R, int64_t C) {
  const int j = static_cast<int>(threadIdx.x) % kRowThreads, group = static_cast<int>(threadIdx.x) / kRowThreads;
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kBlockRows + group;
  const bool present = r < R;
  const int64_t t = present ? order[r] / top_k : 0, slot = present ? order[r] % top_k : 0;
  const float w = weight[t * ld_w + slot];
  float chain = 0;
  if (present)
    for (int64_t c = j; c < C; c += kRowThreads) {
      const float d = dy[t * ld_dy + c];
      chain = fma32(d, f[r * ld_f + c], chain);
      df[r * ld_df + c] = w * d;
    }
  const float dot = sum_of_64(chain, shared_memory<float>() + group * kRowThreads, j);
  if (present && j == 0) dweight[t * ld_dw + slot] = dot;
}

dim3 blocks_of(int64_t items) { return dim3(static_cast<unsigned>((items + kThreads - 1) / kThreads)); }

const int32_t* positions(std::span<const int32_t> order, State::Frame& frame, State& state) {
  const auto pairs = static_cast<int64_t>(order.size());
  auto* position = frame.take<int32_t>(pairs);
  launch(state, "positions of the sorted pairs", position_kernel, blocks_of(pairs), kThreads, 0, order.data(), pairs,
         position);
  return position;
}

}  // namespace

void route_forward(const RouteForward& a, Context& ctx) {
  const int64_t T = a.logits.dim[0];
  launch(state_of(ctx), "route_forward", route_kernel, blocks_of(T * kWarp), kThreads, 0, a.logits.f32(), a.logits.ld,
         T, static_cast<int>(a.logits.dim[1]), a.top_k, a.expert.data(), a.weight.f32(), a.weight.ld);
}

void route_backward(const RouteBackward& a, Context& ctx) {
  const int64_t T = a.dlogits.dim[0];
  launch(state_of(ctx), "route_backward", route_backward_kernel, blocks_of(T * kWarp), kThreads, 0, a.weight.f32(),
         a.weight.ld, a.dweight.f32(), a.dweight.ld, a.expert.data(), T, static_cast<int>(a.dlogits.dim[1]), a.top_k,
         a.dlogits.f32(), a.dlogits.ld);
}

void dispatch(const Dispatch& a, Context& ctx) {
  State& state = state_of(ctx);
  const auto pairs = static_cast<int64_t>(a.expert.size());
  check(cudaMemsetAsync(a.offset.data(), 0, a.offset.size_bytes(), state.stream()), "dispatch");
  launch(state, "dispatch: count", count_kernel, blocks_of(pairs), kThreads, 0, a.expert.data(), pairs,
         a.offset.data());
  launch(state, "dispatch: prefix", prefix_kernel, dim3(1), 1, 0, a.offset.data(), a.E);
  launch(state, "dispatch: place", place_kernel, dim3(static_cast<unsigned>(a.E)), kThreads,
         kThreads / kWarp * sizeof(int32_t), a.expert.data(), pairs, a.offset.data(), a.order.data());
}

void gather_rows(const GatherRows& a, Context& ctx) {
  launch(state_of(ctx), "gather_rows", gather_kernel, dim3(static_cast<unsigned>(a.y.dim[0])), kThreads, 0, a.x.f32(),
         a.x.ld, a.order.data(), a.top_k, a.y.f32(), a.y.ld, a.y.dim[1]);
}

void gather_rows_backward(const GatherRowsBackward& a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  launch(state, "gather_rows_backward", gather_backward_kernel, dim3(static_cast<unsigned>(a.dx.dim[0])), kThreads, 0,
         a.dy.f32(), a.dy.ld, positions(a.order, frame, state), a.top_k, a.dx.f32(), a.dx.ld, a.dx.dim[1]);
}

void combine_forward(const CombineForward& a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  launch(state, "combine_forward", combine_kernel, dim3(static_cast<unsigned>(a.y.dim[0])), kThreads, 0, a.f.f32(),
         a.f.ld, positions(a.order, frame, state), a.weight.f32(), a.weight.ld, static_cast<int>(a.weight.dim[1]),
         a.y.f32(), a.y.ld, a.y.dim[1]);
}

void combine_backward(const CombineBackward& a, Context& ctx) {
  const int64_t R = a.df.dim[0];
  launch(state_of(ctx), "combine_backward", combine_backward_kernel,
         dim3(static_cast<unsigned>((R + kBlockRows - 1) / kBlockRows)), kThreads, kThreads * sizeof(float), a.dy.f32(),
         a.dy.ld, a.f.f32(), a.f.ld, a.order.data(), a.weight.f32(), a.weight.ld, static_cast<int>(a.weight.dim[1]),
         a.df.f32(), a.df.ld, a.dweight.f32(), a.dweight.ld, R, a.df.dim[1]);
}

}  // namespace fulmen::kernels::cuda
