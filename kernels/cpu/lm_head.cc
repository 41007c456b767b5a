#include <cstdlib>
#include <memory>

#include "kernels/cpu/entries.h"
#include "kernels/cpu/vocabulary_row.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

// Memory beyond the arguments: one tile of logits (4 MiB) and the tile's rows of h and dh, whatever T and V.
constexpr int64_t kHeadTileRows = 256;
constexpr int64_t kLogitsLd = kVocabChunk + kLanes;  // rows a multiple of 4 KiB apart would share cache sets
constexpr int64_t kRowGrain = 4;

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float[], Free>;

// Not from the pool's scratch: the linear layers called between chunks use that.
Floats allocate(int64_t count) {
  const size_t bytes = ((size_t)count * sizeof(float) + 63) / 64 * 64;
  Floats p((float*)std::aligned_alloc(64, bytes));
  if (!p) throw Error("lm_head: out of memory for a tile of logits");
  return p;
}

// The next rows that have a target, gathered: a prompt row costs nothing.
struct Tile {
  int64_t rows = 0;
  int64_t row[kHeadTileRows];
  float *h, *logits;

  TensorRef inputs(int64_t C) const { return mat(h, rows, C); }
  TensorRef chunk(int64_t width) const { return mat(logits, rows, width, kLogitsLd); }
};

// Fills the tile from rows [t, T) and returns where to go on.
int64_t next_tile(const TensorRef& h, std::span<const int32_t> target, int64_t t, Tile& tile, Context& ctx) {
  tile.rows = 0;
  for (; t < h.dim[0] && tile.rows < kHeadTileRows; ++t)
    if (target[t] >= 0) tile.row[tile.rows++] = t;
  const int64_t C = h.dim[1];
  for_rows(tile.rows, C, ctx,
           [&](int64_t r) { memcpy(tile.h + r * C, h.row(tile.row[r]), (size_t)C * sizeof(float)); });
  return t;
}

// Rows [first, first + width) of a (V, K) matrix of any dtype.
TensorRef chunk_rows(TensorRef w, int64_t first, int64_t width) {
  w.data = (char*)w.data + first * w.ld * dtype_bytes(w.dtype);
  w.dim[0] = width;
  return w;
}

// Logits of the tile for one chunk. Chunks are whole panels, so a chunk of a packed weight is a packed weight.
void project(const PackedWeight& w, int64_t chunk, const Tile& tile, Context& ctx) {
  static_assert(kVocabChunk % kPanel == 0);
  PackedWeight part = w;
  part.data = (const char*)w.data + chunk * kVocabChunk * w.K * dtype_bytes(w.dtype);
  part.N = chunk_width(w.N, chunk);
  ctx.table->linear_forward({tile.inputs(w.K), part, tile.chunk(part.N)}, ctx);
}

struct RowState {
  VocabStats stats;
  float x;  // of the target
};

template <bool kEntropy>
void add_chunk(const LmHeadForward& a, const Tile& tile, int64_t chunk, RowState* state, Context& ctx) {
  const int64_t first = chunk * kVocabChunk, width = chunk_width(a.w.N, chunk);
  ctx.pool->parallel_for(tile.rows, kRowGrain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const float* logits = tile.logits + r * kLogitsLd;
      const VocabStats s = chunk_stats<kEntropy>(logits, width, a.inv_temperature);
      state[r].stats = chunk == 0 ? s : merge(state[r].stats, s);
      const int64_t at = a.target[tile.row[r]] - first;
      if (at >= 0 && at < width) state[r].x = logits[at] * a.inv_temperature;
    }
  });
}

void write_row(const LmHeadForward& a, int64_t t, const RowState& s) {
  a.logprob.f32()[t] = log_probability(s.x, s.stats);
  if (a.entropy) a.entropy.f32()[t] = row_entropy(s.stats);
  a.lse.row(t)[0] = s.stats.m;
  a.lse.row(t)[1] = s.stats.l;
}

void write_skipped_rows(const LmHeadForward& a) {
  for (int64_t t = 0; t < a.h.dim[0]; ++t) {
    if (a.target[t] >= 0) continue;
    a.logprob.f32()[t] = 0;
    if (a.entropy) a.entropy.f32()[t] = 0;
    a.lse.row(t)[0] = 0;
    a.lse.row(t)[1] = 1;
  }
}

// Logits of chunk to gradients in place, for one row (see the formula in lm_head.h).
void logits_to_gradient(const LmHeadBackward& a, int64_t t, int64_t first, int64_t width, float* logits) {
  const float M = a.lse.row(t)[0], L = a.lse.row(t)[1];
  const float dlogprob = a.dlogprob.f32()[t], dentropy = a.dentropy ? a.dentropy.f32()[t] : 0.0f;
  const float shift = a.dentropy ? a.entropy.f32()[t] - (float)std::log((double)L) : 0.0f;
  const Vec inv_t = set1(a.inv_temperature), scale = set1(-a.inv_temperature), inv_l = set1(1.0f / L);
  const Vec max = set1(M), dlp = set1(dlogprob), dent = set1(dentropy), shifted = set1(shift);
  each_vec(width, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
    const Vec d = sub(mul(load_some(logits + i, n), inv_t), max);
    const Vec p = mul(vexp(d), inv_l);
    store_some(logits + i, mul(p, mul(fma(dent, add(d, shifted), dlp), scale)), n);
  });
  const int64_t at = a.target[t] - first;
  if (at >= 0 && at < width) logits[at] += dlogprob * a.inv_temperature;
}

void backward_tile(const LmHeadBackward& a, const Tile& tile, float* dh, Context& ctx) {
  const int64_t V = a.w.N, C = a.w.K;
  for (int64_t c = 0; c < vocab_chunks(V); ++c) {
    const int64_t first = c * kVocabChunk, width = chunk_width(V, c);
    project(a.w, c, tile, ctx);
    ctx.pool->parallel_for(tile.rows, kRowGrain, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r)
        logits_to_gradient(a, tile.row[r], first, width, tile.logits + r * kLogitsLd);
    });
    LinearBackward step;
    step.dy = tile.chunk(width);
    step.x = tile.inputs(C);
    step.w = chunk_rows(a.w_rows, first, width);
    step.dx = mat(dh, tile.rows, C);
    step.dx_accumulate = c > 0;
    if (a.dw) step.dw = chunk_rows(a.dw, first, width);
    ctx.table->linear_backward(step, ctx);
  }
  for_rows(tile.rows, C, ctx, [&](int64_t r) { memcpy(a.dh.row(tile.row[r]), dh + r * C, (size_t)C * sizeof(float)); });
}

}  // namespace

void lm_head_forward(const LmHeadForward& a, Context& ctx) {
  const int64_t T = a.h.dim[0], C = a.w.K;
  const Floats memory = allocate(kHeadTileRows * (kLogitsLd + C));
  Tile tile;
  tile.logits = memory.get();
  tile.h = tile.logits + kHeadTileRows * kLogitsLd;
  RowState state[kHeadTileRows];
  for (int64_t t = 0; t < T;) {
    t = next_tile(a.h, a.target, t, tile, ctx);
    if (tile.rows == 0) break;
    for (int64_t c = 0; c < vocab_chunks(a.w.N); ++c) {
      project(a.w, c, tile, ctx);
      if (a.entropy)
        add_chunk<true>(a, tile, c, state, ctx);
      else
        add_chunk<false>(a, tile, c, state, ctx);
    }
    for (int64_t r = 0; r < tile.rows; ++r) write_row(a, tile.row[r], state[r]);
  }
  write_skipped_rows(a);
}

void lm_head_backward(const LmHeadBackward& a, Context& ctx) {
  const int64_t T = a.h.dim[0], C = a.w.K;
  const Floats memory = allocate(kHeadTileRows * (kLogitsLd + 2 * C));
  Tile tile;
  tile.logits = memory.get();
  tile.h = tile.logits + kHeadTileRows * kLogitsLd;
  float* dh = tile.h + kHeadTileRows * C;
  for (int64_t t = 0; t < T;) {
    t = next_tile(a.h, a.target, t, tile, ctx);
    if (tile.rows == 0) break;
    backward_tile(a, tile, dh, ctx);
  }
  for (int64_t t = 0; t < T; ++t)
    if (a.target[t] < 0) memset(a.dh.row(t), 0, (size_t)C * sizeof(float));
}

}  // namespace fulmen::kernels::FULMEN_ISA
