#include <cmath>
#include <vector>

#include "kernels/cuda/arithmetic.cuh"
#include "kernels/cuda/entries.h"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPiece = 1024;  // columns of a row that one block does

struct Grid {  // of blocks: pieces of rows
  int64_t columns, pieces;
  __device__ int64_t row() const { return blockIdx.x / pieces; }
  __device__ int64_t begin() const { return blockIdx.x % pieces * kPiece; }
  __device__ int64_t end() const { return begin() + kPiece < columns ? begin() + kPiece : columns; }
  static Grid of(const TensorRef& x) { return {x.dim[1], (x.dim[1] + kPiece - 1) / kPiece}; }
  dim3 blocks(const TensorRef& x) const { return dim3(static_cast<unsigned>(x.dim[0] * pieces)); }
};

struct Rows {  // a matrix on the device
  float* p;
  int64_t ld;
  Rows(const TensorRef& t) : p(t.f32()), ld(t.ld) {}
};

__global__ void silu_kernel(Grid g, Rows x, Rows y) {
  for (int64_t r = g.row(), c = g.begin() + threadIdx.x; c < g.end(); c += kThreads) {
    const float v = x.p[r * x.ld + c];
    y.p[r * y.ld + c] = v / (1.0f + exp32(0.0f - v));
  }
}

// d silu / dx = s (1 + x (1 - s)), s = sigmoid(x)
__device__ float silu_slope(float x, float s) { return s * fma32(x, 1.0f - s, 1.0f); }

__global__ void silu_backward_kernel(Grid g, Rows dy, Rows x, Rows dx) {
  for (int64_t r = g.row(), c = g.begin() + threadIdx.x; c < g.end(); c += kThreads) {
    const float v = x.p[r * x.ld + c];
    dx.p[r * dx.ld + c] = dy.p[r * dy.ld + c] * silu_slope(v, sigmoid32(v));
  }
}

__global__ void swiglu_kernel(Grid g, Rows gate, Rows up, Rows y) {
  for (int64_t r = g.row(), c = g.begin() + threadIdx.x; c < g.end(); c += kThreads) {
    const float v = gate.p[r * gate.ld + c];
    y.p[r * y.ld + c] = v / (1.0f + exp32(0.0f - v)) * up.p[r * up.ld + c];
  }
}

__global__ void swiglu_backward_kernel(Grid g, Rows dy, Rows gate, Rows up, Rows dgate, Rows dup) {
  for (int64_t r = g.row(), c = g.begin() + threadIdx.x; c < g.end(); c += kThreads) {
    const float d = dy.p[r * dy.ld + c], v = gate.p[r * gate.ld + c], u = up.p[r * up.ld + c], s = sigmoid32(v);
    dup.p[r * dup.ld + c] = d * (v * s);
    dgate.p[r * dgate.ld + c] = (d * u) * silu_slope(v, s);
  }
}

__global__ void scaled_add_kernel(Grid g, Rows x, Rows add, Rows y, float alpha, float beta) {
  for (int64_t r = g.row(), c = g.begin() + threadIdx.x; c < g.end(); c += kThreads)
    y.p[r * y.ld + c] = fma32(alpha, x.p[r * x.ld + c], beta * add.p[r * add.ld + c]);
}

__global__ void round_kernel(Grid g, Rows x) {
  for (int64_t r = g.row(), c = g.begin() + threadIdx.x; c < g.end(); c += kThreads)
    x.p[r * x.ld + c] = from_bf16(to_bf16(x.p[r * x.ld + c]));
}

__global__ void embedding_kernel(Grid g, const int32_t* tokens, const int32_t* sampled, Rows table, Rows y) {
  const int64_t r = g.row();
  int64_t token = tokens[r];
  if (token < 0) token = sampled[-1 - token];
  if (token < 0) token = 0;
  for (int64_t c = g.begin() + threadIdx.x; c < g.end(); c += kThreads)
    y.p[r * y.ld + c] = table.p[token * table.ld + c];
}

// Rows of the batch by token: group i is token[i], rows row[first[i]] .. row[first[i + 1]] in row order.
struct RowsByToken {
  std::vector<int32_t> token, first, row;
};

RowsByToken rows_by_token(std::span<const int32_t> tokens, int64_t V) {
  std::vector<int32_t> start(static_cast<size_t>(V) + 1, 0);
  for (const int32_t t : tokens) ++start[static_cast<size_t>(t) + 1];
  RowsByToken by;
  for (size_t v = 0; v < static_cast<size_t>(V); ++v) {
    if (start[v + 1] > 0) by.token.push_back(static_cast<int32_t>(v)), by.first.push_back(start[v]);
    start[v + 1] += start[v];
  }
  by.first.push_back(static_cast<int32_t>(tokens.size()));
  by.row.resize(tokens.size());
  for (size_t r = 0; r < tokens.size(); ++r)
    by.row[static_cast<size_t>(start[static_cast<size_t>(tokens[r])]++)] = static_cast<int32_t>(r);
  return by;
}

// One block adds up the rows of one token, so that each sum is in row order.
__global__ void embedding_backward_kernel(Grid g, const int32_t* token, const int32_t* first, const int32_t* row,
                                          Rows dy, Rows dtable) {
  for (int64_t i = g.row(), c = g.begin() + threadIdx.x; c < g.end(); c += kThreads) {
    float sum = dtable.p[token[i] * dtable.ld + c];
    for (int32_t n = first[i]; n < first[i + 1]; ++n) sum = sum + dy.p[row[n] * dy.ld + c];
    dtable.p[token[i] * dtable.ld + c] = sum;
  }
}

__device__ int64_t position_of(const Segment* segments, int count, int64_t row) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int mid = (low + high + 1) / 2;
    if (segments[mid].row0 <= row)
      low = mid;
    else
      high = mid - 1;
  }
  return segments[low].pos0 + (row - segments[low].row0);
}

// A block turns all heads of one row. Shared: cosines and sines of the row.
__global__ void rope_kernel(Rows x, int heads, int D, int half, bool inverse, const double* frequency,
                            const Segment* segments, int segment_count) {
  float *cosine = shared_memory<float>(), *sine = cosine + half;
  const int64_t row = blockIdx.x;
  const auto position = static_cast<double>(position_of(segments, segment_count, row));
  for (int i = static_cast<int>(threadIdx.x); i < half; i += kThreads) {
    const double angle = position * frequency[i];
    const auto s = static_cast<float>(sin(angle));
    cosine[i] = static_cast<float>(cos(angle));
    sine[i] = inverse ? -s : s;
  }
  __syncthreads();
  for (int n = static_cast<int>(threadIdx.x); n < heads * half; n += kThreads) {
    const int i = n % half;
    float* p = x.p + row * x.ld + static_cast<int64_t>(n / half) * D + i;
    const float a = p[0], b = p[half], c = cosine[i], s = sine[i];
    p[0] = fma32(-b, s, a * c);
    p[half] = fma32(a, s, b * c);
  }
}

}  // namespace

void silu_forward(const Silu& a, Context& ctx) {
  const Grid g = Grid::of(a.x);
  launch(state_of(ctx), "silu_forward", silu_kernel, g.blocks(a.x), kThreads, 0, g, a.x, a.y);
}

void silu_backward(const SiluBackward& a, Context& ctx) {
  const Grid g = Grid::of(a.x);
  launch(state_of(ctx), "silu_backward", silu_backward_kernel, g.blocks(a.x), kThreads, 0, g, a.dy, a.x, a.dx);
}

void swiglu_forward(const SwiGlu& a, Context& ctx) {
  const Grid g = Grid::of(a.gate);
  launch(state_of(ctx), "swiglu_forward", swiglu_kernel, g.blocks(a.gate), kThreads, 0, g, a.gate, a.up, a.y);
}

void swiglu_backward(const SwiGluBackward& a, Context& ctx) {
  const Grid g = Grid::of(a.gate);
  launch(state_of(ctx), "swiglu_backward", swiglu_backward_kernel, g.blocks(a.gate), kThreads, 0, g, a.dy, a.gate, a.up,
         a.dgate, a.dup);
}

void scaled_add(const ScaledAdd& a, Context& ctx) {
  const Grid g = Grid::of(a.x);
  launch(state_of(ctx), "scaled_add", scaled_add_kernel, g.blocks(a.x), kThreads, 0, g, a.x, a.r, a.y, a.alpha, a.beta);
}

void round_to_bf16(const TensorRef& x, Context& ctx) {
  const Grid g = Grid::of(x);
  launch(state_of(ctx), "round_to_bf16", round_kernel, g.blocks(x), kThreads, 0, g, x);
}

void embedding_forward(const EmbeddingForward& a, Context& ctx) {
  State& state = state_of(ctx);
  const Grid g = Grid::of(a.y);
  launch(state, "embedding_forward", embedding_kernel, g.blocks(a.y), kThreads, 0, g, state.upload(a.tokens),
         a.sampled.data(), a.table, a.y);
}

void embedding_backward(const EmbeddingBackward& a, Context& ctx) {
  State& state = state_of(ctx);
  const RowsByToken by = rows_by_token(a.tokens, a.dtable.dim[0]);
  const auto* token = state.upload(std::span<const int32_t>(by.token));
  const auto* first = state.upload(std::span<const int32_t>(by.first));
  const auto* row = state.upload(std::span<const int32_t>(by.row));
  const Grid g = Grid::of(a.dy);
  launch(state, "embedding_backward", embedding_backward_kernel,
         dim3(static_cast<unsigned>(static_cast<int64_t>(by.token.size()) * g.pieces)), kThreads, 0, g, token, first,
         row, a.dy, a.dtable);
}

void rope(const Rope& a, Context& ctx) {
  State& state = state_of(ctx);
  const int half = a.rotary / 2;
  std::vector<double> frequency(static_cast<size_t>(half));
  for (int i = 0; i < half; ++i) frequency[static_cast<size_t>(i)] = std::pow(a.theta, -2.0 * i / a.rotary);
  const double* f = state.upload(std::span<const double>(frequency));
  launch(state, "rope", rope_kernel, dim3(static_cast<unsigned>(a.x.dim[0])), kThreads,
         2 * static_cast<size_t>(half) * sizeof(float), a.x, a.heads, a.D, half, a.inverse, f, state.upload(a.segments),
         static_cast<int>(a.segments.size()));
}

}  // namespace fulmen::kernels::cuda
