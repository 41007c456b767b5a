#include <vector>

#include "kernels/cuda/entries.h"
#include "kernels/cuda/vocabulary_row.cuh"

namespace fulmen::kernels::cuda {
namespace {

// Memory beyond the arguments: one tile of logits (32 MiB) and the tile's rows of h and dh, whatever T and V.
constexpr int64_t kHeadTileRows = 2048;
constexpr int kThreads = 256;

struct RowState {
  VocabStats stats;
  float x;  // of the target
};

__global__ void gather_kernel(const float* x, int64_t ld, const int32_t* row, float* y, int64_t C) {
  const int64_t r = blockIdx.x;
  for (int64_t c = threadIdx.x; c < C; c += kThreads) y[r * C + c] = x[row[r] * ld + c];
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

// Logits of the chunk to their gradients in place (the formula is in lm_head.h). Grid: rows of the tile.
__global__ void gradient_kernel(Chunk a, Gradient g) {
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
};

void project(const PackedWeight& w, int64_t chunk, const Tile& tile, Context& ctx) {
  PackedWeight part = w;
  part.data = static_cast<const char*>(w.data) + chunk * kVocabChunk * w.K * dtype_bytes(w.dtype);
  part.N = chunk_width(w.N, chunk);
  cuda::linear_forward({mat(tile.h, tile.rows, w.K), part, mat(tile.logits, tile.rows, part.N, kVocabChunk)}, ctx);
}

Chunk chunk_of(const Tile& t, int64_t chunk, int64_t V, float inv_temperature) {
  return {t.logits, chunk * kVocabChunk, chunk_width(V, chunk), t.rows, inv_temperature, t.row, t.target};
}

// f(tile) for every kHeadTileRows rows that have a target, their h gathered.
template <class F>
void each_tile(const TensorRef& h, const Rows& rows, State::Frame& frame, State& state, F f) {
  const auto n = static_cast<int64_t>(rows.row.size()), most = n < kHeadTileRows ? n : kHeadTileRows, C = h.dim[1];
  if (n == 0) return;
  Tile tile{};
  tile.logits = frame.take<float>(most * kVocabChunk);
  tile.h = frame.take<float>(most * C);
  for (int64_t first = 0; first < n; first += kHeadTileRows) {
    tile.rows = n - first < kHeadTileRows ? n - first : kHeadTileRows;
    tile.row = state.upload(std::span<const int32_t>(rows.row).subspan(first, tile.rows));
    tile.target = state.upload(std::span<const int32_t>(rows.target).subspan(first, tile.rows));
    launch(state, "lm_head: gather", gather_kernel, dim3(static_cast<unsigned>(tile.rows)), kThreads, 0, h.f32(), h.ld,
           tile.row, tile.h, C);
    f(tile);
  }
}

dim3 blocks_of(int64_t n) { return dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads)); }

}  // namespace

void lm_head_forward(const LmHeadForward& a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  const Rows rows(a.target);
  auto* row_state = frame.take<RowState>(kHeadTileRows);
  each_tile(a.h, rows, frame, state, [&](const Tile& tile) {
    for (int64_t c = 0; c < vocab_chunks(a.w.N); ++c) {
      project(a.w, c, tile, ctx);
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
  auto* dh = frame.take<float>(kHeadTileRows * C);
  each_tile(a.h, rows, frame, state, [&](const Tile& tile) {
    for (int64_t c = 0; c < vocab_chunks(V); ++c) {
      project(a.w, c, tile, ctx);
      const Chunk chunk = chunk_of(tile, c, V, a.inv_temperature);
      launch(state, "lm_head_backward", gradient_kernel, dim3(static_cast<unsigned>(tile.rows)), kThreads, 0, chunk, g);
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
