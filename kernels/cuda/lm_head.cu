#include <algorithm>
#include <vector>

#include "kernels/cuda/entries.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/vocabulary_row.cuh"

namespace fulmen::kernels::cuda {
namespace {

// Memory beyond the arguments: one tile of logits (32 MiB), their gradients in bf16 and the tile's rows of h (fp32 and
// bf16) and dh, whatever T and V. With bf16 weights each value is rounded once for all products that read it.
constexpr int64_t kHeadTileRows = 2048;
constexpr int kThreads = 256;

struct RowState {
  VocabStats stats;
  float x;  // of the target
};

// rounded: the same in bf16, lines of `ld_rounded`; or null.
__global__ void gather_kernel(const float* x, int64_t ld, const int32_t* row, float* y, uint16_t* rounded,
                              int64_t ld_rounded, int64_t C) {
  const int64_t r = blockIdx.x;
  for (int64_t c = threadIdx.x; c < C; c += kThreads) {
    const float v = x[row[r] * ld + c];
    y[r * C + c] = v;
    if (rounded != nullptr) rounded[r * ld_rounded + c] = to_bf16(v);
  }
}

__global__ void scatter_kernel(const float* x, const int32_t* row, float* y, int64_t ld, int64_t C) {
  const int64_t r = blockIdx.x;
  for (int64_t c = threadIdx.x; c < C; c += kThreads) y[row[r] * ld + c] = x[r * C + c];
}

__global__ void clear_rows_kernel(float* y, int64_t ld, const int32_t* row, int64_t C) {
  for (int64_t c = threadIdx.x; c < C; c += kThreads) y[row[blockIdx.x] * ld + c] = 0;
}

struct Chunk {
  float* logits;  // (rows, kVocabChunk)
  int64_t first, width, rows;
  float inv_temperature;
  const int32_t *row, *target;  // of the tile: row of the batch, its target
};

// 64 threads a row.
__global__ void stats_kernel(Chunk a, RowState* state) {
  const int j = static_cast<int>(threadIdx.x) % kRowThreads, group = static_cast<int>(threadIdx.x) / kRowThreads;
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kBlockRows + group;
  const bool present = r < a.rows;
  const float* logits = a.logits + r * kVocabChunk;
  const VocabStats s =
      chunk_stats(logits, present ? a.width : 0, a.inv_temperature, shared_memory<float>() + group * kRowThreads, j);
  if (!present || j != 0) return;
  state[r].stats = a.first == 0 ? s : merge_stats(state[r].stats, s);
  const int64_t at = a.target[r] - a.first;
  if (at >= 0 && at < a.width) state[r].x = logits[at] * a.inv_temperature;
}

__global__ void write_kernel(const RowState* state, const int32_t* row, int64_t rows, float* logprob, float* entropy,
                             float* lse, int64_t ld_lse) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= rows) return;
  const int64_t t = row[r];
  logprob[t] = log_probability(state[r].x, state[r].stats);
  if (entropy != nullptr) entropy[t] = row_entropy(state[r].stats);
  lse[t * ld_lse] = state[r].stats.m;
  lse[t * ld_lse + 1] = state[r].stats.l;
}

__global__ void write_skipped_kernel(const int32_t* row, int64_t rows, float* logprob, float* entropy, float* lse,
                                     int64_t ld_lse) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= rows) return;
  logprob[row[r]] = 0;
  if (entropy != nullptr) entropy[row[r]] = 0;
  lse[row[r] * ld_lse] = 0;
  lse[row[r] * ld_lse + 1] = 1;
}

struct Gradient {
  const float *lse, *entropy, *dlogprob, *dentropy;  // dentropy may be null, then entropy is not read
  int64_t ld_lse;
};

// Logits of the chunk to their gradients (the formula is in lm_head.h), in place or in bf16 to `rounded`. Grid: rows of
// the tile.
__global__ void gradient_kernel(Chunk a, Gradient g, uint16_t* rounded) {
  const int64_t r = blockIdx.x, t = a.row[r];
  float* logits = a.logits + r * kVocabChunk;
  const float M = g.lse[t * g.ld_lse], L = g.lse[t * g.ld_lse + 1];
  const float dlogprob = g.dlogprob[t], dentropy = g.dentropy != nullptr ? g.dentropy[t] : 0.0f;
  const float shift = g.dentropy != nullptr ? g.entropy[t] - static_cast<float>(log(static_cast<double>(L))) : 0.0f;
  const float scale = -a.inv_temperature, inv_l = 1.0f / L;
  const int64_t at = a.target[r] - a.first;
  for (int64_t i = threadIdx.x; i < a.width; i += kThreads) {
    const float d = logits[i] * a.inv_temperature - M, p = exp32(d) * inv_l;
    float x = p * (fma32(dentropy, d + shift, dlogprob) * scale);
    if (i == at) x = x + dlogprob * a.inv_temperature;
    if (rounded != nullptr)
      rounded[r * kVocabChunk + i] = to_bf16(x);
    else
      logits[i] = x;
  }
}

TensorRef chunk_rows(TensorRef w, int64_t first, int64_t width) {
  w.data = static_cast<char*>(w.data) + first * w.ld * dtype_bytes(w.dtype);
  w.dim[0] = width;
  return w;
}

// Rows that have a target, tile by tile, on host and device; `skipped` are the others.
struct Rows {
  std::vector<int32_t> row, target, skipped;
  explicit Rows(std::span<const int32_t> targets) {
    for (size_t t = 0; t < targets.size(); ++t) {
      if (targets[t] < 0) {
        skipped.push_back(static_cast<int32_t>(t));
        continue;
      }
      row.push_back(static_cast<int32_t>(t));
      target.push_back(targets[t]);
    }
  }
};

struct Tile {
  int64_t rows;
  const int32_t *row, *target;
  float *h, *logits;
  uint16_t* h_rounded;  // null where the weights are fp32
  int64_t ld_rounded;
};

void project(const PackedWeight& w, int64_t chunk, const Tile& tile, State& state) {
  Product p;
  p.a = tile.h, p.a_row = w.K, p.a_rounded = tile.h_rounded, p.a_rounded_row = tile.ld_rounded;
  p.b = static_cast<const char*>(w.data) + chunk * kVocabChunk * w.K * dtype_bytes(w.dtype), p.b_type = w.dtype;
  p.b_column = w.K;
  p.c = tile.logits, p.c_row = kVocabChunk;
  p.M = tile.rows, p.N = chunk_width(w.N, chunk), p.K = w.K;
  w.dtype == DType::kBf16 ? multiply_bf16(p, state) : multiply_fp32(p, state);
}

Chunk chunk_of(const Tile& t, int64_t chunk, int64_t V, float inv_temperature) {
  return {t.logits, chunk * kVocabChunk, chunk_width(V, chunk), t.rows, inv_temperature, t.row, t.target};
}

// f(tile) for every kHeadTileRows rows that have a target, their h gathered.
template <class F>
void each_tile(const TensorRef& h, DType weights, const Rows& rows, State::Frame& frame, State& state, F f) {
  const auto n = static_cast<int64_t>(rows.row.size()), most = n < kHeadTileRows ? n : kHeadTileRows, C = h.dim[1];
  if (n == 0) return;
  Tile tile{};
  tile.logits = frame.take<float>(most * kVocabChunk);
  tile.h = frame.take<float>(most * C);
  tile.ld_rounded = (C + 7) / 8 * 8;
  if (weights == DType::kBf16) tile.h_rounded = frame.take<uint16_t>(most * tile.ld_rounded);
  for (int64_t first = 0; first < n; first += kHeadTileRows) {
    tile.rows = n - first < kHeadTileRows ? n - first : kHeadTileRows;
    tile.row = state.upload(std::span<const int32_t>(rows.row).subspan(first, tile.rows));
    tile.target = state.upload(std::span<const int32_t>(rows.target).subspan(first, tile.rows));
    launch(state, "lm_head: gather", gather_kernel, dim3(static_cast<unsigned>(tile.rows)), kThreads, 0, h.f32(), h.ld,
           tile.row, tile.h, tile.h_rounded, tile.ld_rounded, C);
    f(tile);
  }
}

// dh and dw of a chunk on the tensor cores, the gradients of its logits already in bf16.
struct ChunkProducts {
  Product dh, dw;
  bool fit;  // may be multiplied from what is rounded
  ChunkProducts(const LmHeadBackward& a, const Chunk& chunk, const Tile& tile, float* dh_tile, uint16_t* gradient) {
    const TensorRef w = chunk_rows(a.w_rows, chunk.first, chunk.width), to = a.dw;
    dh.a = tile.logits, dh.a_row = kVocabChunk;  // the same in fp32, which these products do not read
    dh.a_rounded = gradient, dh.a_rounded_row = kVocabChunk;
    dw = dh;
    dh.b = w.data, dh.b_type = w.dtype, dh.b_k = w.ld, dh.b_column = 1;
    dh.c = dh_tile, dh.c_row = a.w.K, dh.accumulate = chunk.first > 0;
    dh.M = tile.rows, dh.N = a.w.K, dh.K = chunk.width;
    dw.a_row = 1, dw.a_k = kVocabChunk;
    dw.b = tile.h_rounded, dw.b_type = DType::kBf16, dw.b_k = tile.ld_rounded, dw.b_column = 1;
    dw.M = chunk.width, dw.N = a.w.K, dw.K = tile.rows, dw.accumulate = true;
    if (to) dw.c = chunk_rows(to, chunk.first, chunk.width).f32(), dw.c_row = to.ld;
    fit = w.dtype == DType::kBf16 && gradient != nullptr && fits_tiles(dh) && fits_tiles(dw);
  }
};

dim3 blocks_of(int64_t n) { return dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads)); }

}  // namespace

void lm_head_forward(const LmHeadForward& a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  const Rows rows(a.target);
  auto* row_state = frame.take<RowState>(kHeadTileRows);
  each_tile(a.h, a.w.dtype, rows, frame, state, [&](const Tile& tile) {
    for (int64_t c = 0; c < vocab_chunks(a.w.N); ++c) {
      project(a.w, c, tile, state);
      launch(state, "lm_head_forward", stats_kernel,
             dim3(static_cast<unsigned>((tile.rows + kBlockRows - 1) / kBlockRows)), kRowThreads * kBlockRows,
             kRowThreads * kBlockRows * sizeof(float), chunk_of(tile, c, a.w.N, a.inv_temperature), row_state);
    }
    launch(state, "lm_head_forward: write", write_kernel, blocks_of(tile.rows), kThreads, 0, row_state, tile.row,
           tile.rows, a.logprob.f32(), a.entropy.f32(), a.lse.f32(), a.lse.ld);
  });
  const auto skipped = static_cast<int64_t>(rows.skipped.size());
  if (skipped > 0)
    launch(state, "lm_head_forward: skipped rows", write_skipped_kernel, blocks_of(skipped), kThreads, 0,
           state.upload(std::span<const int32_t>(rows.skipped)), skipped, a.logprob.f32(), a.entropy.f32(), a.lse.f32(),
           a.lse.ld);
}

void lm_head_backward(const LmHeadBackward& a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  const Rows rows(a.target);
  const int64_t V = a.w.N, C = a.w.K;
  const Gradient g{a.lse.f32(), a.entropy.f32(), a.dlogprob.f32(), a.dentropy.f32(), a.lse.ld};
  const auto most = std::min(static_cast<int64_t>(rows.row.size()), kHeadTileRows);
  auto* dh = frame.take<float>(most * C);
  uint16_t* gradient = nullptr;
  if (a.w.dtype == DType::kBf16) gradient = frame.take<uint16_t>(most * kVocabChunk);
  each_tile(a.h, a.w.dtype, rows, frame, state, [&](const Tile& tile) {
    for (int64_t c = 0; c < vocab_chunks(V); ++c) {
      project(a.w, c, tile, state);
      const Chunk chunk = chunk_of(tile, c, V, a.inv_temperature);
      const ChunkProducts products(a, chunk, tile, dh, gradient);
      launch(state, "lm_head_backward", gradient_kernel, dim3(static_cast<unsigned>(tile.rows)), kThreads, 0, chunk, g,
             products.fit ? gradient : nullptr);
      if (products.fit) {
        multiply_bf16(products.dh, state);
        if (a.dw) multiply_bf16(products.dw, state);
        continue;
      }
      LinearBackward step;
      step.dy = mat(tile.logits, tile.rows, chunk.width, kVocabChunk);
      step.x = mat(tile.h, tile.rows, C);
      step.w = chunk_rows(a.w_rows, chunk.first, chunk.width);
      step.dx = mat(dh, tile.rows, C);
      step.dx_accumulate = c > 0;
      if (a.dw) step.dw = chunk_rows(a.dw, chunk.first, chunk.width);
      cuda::linear_backward(step, ctx);
    }
    launch(state, "lm_head_backward: scatter", scatter_kernel, dim3(static_cast<unsigned>(tile.rows)), kThreads, 0, dh,
           tile.row, a.dh.f32(), a.dh.ld, C);
  });
  if (!rows.skipped.empty())
    launch(state, "lm_head_backward: skipped rows", clear_rows_kernel, dim3(static_cast<unsigned>(rows.skipped.size())),
           kThreads, 0, a.dh.f32(), a.dh.ld, state.upload(std::span<const int32_t>(rows.skipped)), C);
}

}  // namespace fulmen::kernels::cuda
