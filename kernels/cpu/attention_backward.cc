// Gradient of softmax attention, recomputed tile by tile from the saved log-sum-exp. With P = exp(S scale - lse):
//   dV = P^T dO;  dS = P * (dO V^T - sum(dO * O)) * scale;  dQ = dS K;  dK = dS^T Q
// dq is one chain over ascending keys and dk, dv are one over ascending queries, whether a kv head is walked once for
// all three or the key side and the query side are walked apart to give every thread work. So the schedule is free.

#include "kernels/cpu/attention_split.h"
#include "kernels/cpu/entries.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int kQueries = 64;  // queries of a block, at most, rounded down to whole tokens

struct Scratch {
  float *k, *k_panels, *v_panels;  // one tile of keys: (64, D), (4, D, 16), (4, D, 16); keys beyond the sequence are 0
  float *dk, *dv;                  // (64, D)
  float *q, *g, *dq;               // (queries, D)
  float *lse, *delta;              // (queries)
  float *p, *ds;                   // (queries, 64)
};

int tokens_per_block(int group) { return group < kQueries ? kQueries / group : 1; }
int queries_per_block(int group) { return group * tokens_per_block(group); }

size_t scratch_floats(int queries, int D) {
  return (size_t)D * (5 * kTile + 3 * queries) + (size_t)queries * (2 * kTile + 2);
}

Scratch scratch_at(float* p, int queries, int D) {
  const auto take = [&p](size_t n) { return (p += n) - n; };
  const size_t keys = (size_t)kTile * D, rows = (size_t)queries * D, scores = (size_t)queries * kTile;
  Scratch s;
  s.k = take(keys), s.k_panels = take(keys), s.v_panels = take(keys), s.dk = take(keys), s.dv = take(keys);
  s.q = take(rows), s.g = take(rows), s.dq = take(rows);
  s.p = take(scores), s.ds = take(scores);
  s.lse = take(queries), s.delta = take(queries);
  return s;
}

// One kv head of one sequence.
struct Head {
  const AttentionBackward& a;
  const Segment& seg;
  int kv, group;
  const float* q_row(const TensorRef& t, int64_t row) const {
    return t.row(seg.row0 + row) + (ptrdiff_t)kv * group * a.D;
  }
  float* kv_row(const TensorRef& t, int64_t row) const { return t.row(seg.row0 + row) + (ptrdiff_t)kv * a.D; }
};

void gather_keys(const Head& h, int64_t t0, const Scratch& s) {
  const int D = h.a.D, n = (int)(h.seg.rows - t0 < kTile ? h.seg.rows - t0 : kTile);
  if (n < kTile) memset(s.k, 0, 3 * (size_t)kTile * D * sizeof(float));  // k and both panels
  const float *k = h.kv_row(h.a.k, t0), *v = h.kv_row(h.a.v, t0);
  write_panels(k, h.a.k.ld, 0, n, D, s.k_panels);
  write_rows(k, h.a.k.ld, 0, n, D, s.k);
  write_panels(v, h.a.v.ld, 0, n, D, s.v_panels);
}

struct Queries {
  int64_t row;  // first token
  int n;        // queries
};

void gather_queries(const Head& h, Queries b, const Scratch& s) {
  const int D = h.a.D, width = h.group * D;
  for (int r = 0; r < b.n / h.group; ++r) {
    memcpy(s.q + (size_t)r * width, h.q_row(h.a.q, b.row + r), width * sizeof(float));
    memcpy(s.g + (size_t)r * width, h.q_row(h.a.d_o, b.row + r), width * sizeof(float));
    const float* o = h.q_row(h.a.o, b.row + r);
    for (int g = 0; g < h.group; ++g) {
      const int u = r * h.group + g;
      s.lse[u] = h.a.lse.row(h.seg.row0 + b.row + r)[h.kv * h.group + g];
      s.delta[u] = row_sum(
          D, [&](int64_t i, int, Vec acc) __attribute__((always_inline)) {
            return fma(load(s.g + (size_t)u * D + i), load(o + (size_t)g * D + i), acc);
          });
    }
  }
}

// p and ds of a block of queries against the gathered tile of keys from t0 on; 0 where a query does not see the key.
void scores(const Head& h, Queries b, int64_t t0, const Scratch& s) {
  const int D = h.a.D, vecs = kTile / kLanes;
  multiply<false>(RowOperand{s.q, D, 1}, b.n, VecOperand<float>{s.k_panels, kLanes, (ptrdiff_t)D * kLanes}, D,
                  TileOut{s.p, kTile, kLanes}, vecs);
  multiply<false>(RowOperand{s.g, D, 1}, b.n, VecOperand<float>{s.v_panels, kLanes, (ptrdiff_t)D * kLanes}, D,
                  TileOut{s.ds, kTile, kLanes}, vecs);
  const float scale = (float)(1.0 / __builtin_sqrt((double)D));
  for (int u = 0; u < b.n; ++u) {
    const int64_t keys = b.row + u / h.group + 1 - t0;
    const int valid = keys < 0 ? 0 : keys < kTile ? (int)keys : kTile;
    float *p = s.p + (size_t)u * kTile, *ds = s.ds + (size_t)u * kTile;
    for (int j = 0; j < kTile; j += kLanes) {
      const Vec w = vexp(fma(load(p + j), set1(scale), set1(-s.lse[u])));
      store(p + j, w);
      store(ds + j, mul(mul(w, sub(load(ds + j), set1(s.delta[u]))), set1(scale)));
    }
    for (int j = valid; j < kTile; ++j) p[j] = ds[j] = 0;
  }
}

void add_key_gradients(Queries b, int D, const Scratch& s) {
  multiply<true>(RowOperand{s.p, 1, kTile}, kTile, VecOperand<float>{s.g, D, kLanes}, b.n, TileOut{s.dv, D, kLanes},
                 D / kLanes);
  multiply<true>(RowOperand{s.ds, 1, kTile}, kTile, VecOperand<float>{s.q, D, kLanes}, b.n, TileOut{s.dk, D, kLanes},
                 D / kLanes);
}

// dq of the block: the chain goes on from what earlier key tiles left in the output.
void add_query_gradients(const Head& h, Queries b, bool first_tile, const Scratch& s) {
  const int D = h.a.D;
  const size_t width = (size_t)h.group * D;
  const auto out = [&](int r) { return (float*)h.q_row(h.a.dq, b.row + r); };
  if (first_tile) memset(s.dq, 0, (size_t)b.n * D * sizeof(float));
  for (int r = 0; !first_tile && r < b.n / h.group; ++r) memcpy(s.dq + r * width, out(r), width * sizeof(float));
  multiply<true>(RowOperand{s.ds, kTile, 1}, b.n, VecOperand<float>{s.k, D, kLanes}, kTile, TileOut{s.dq, D, kLanes},
                 D / kLanes);
  for (int r = 0; r < b.n / h.group; ++r) memcpy(out(r), s.dq + r * width, width * sizeof(float));
}

Queries block_at(const Head& h, int64_t row) {
  const int64_t per = tokens_per_block(h.group), left = h.seg.rows - row;
  return {row, (int)(left < per ? left : per) * h.group};
}

// All queries against the key tile from t0 on: dk, dv of the tile, and with `with_dq` its part of dq.
void key_tile(const Head& h, int64_t t0, bool with_dq, const Scratch& s) {
  const int D = h.a.D, per = tokens_per_block(h.group);
  gather_keys(h, t0, s);
  memset(s.dk, 0, 2 * (size_t)kTile * D * sizeof(float));  // dk and dv
  for (int64_t row = t0 / per * per; row < h.seg.rows; row += per) {
    const Queries b = block_at(h, row);
    gather_queries(h, b, s);
    scores(h, b, t0, s);
    add_key_gradients(b, D, s);
    if (with_dq) add_query_gradients(h, b, t0 == 0, s);
  }
  for (int64_t j = 0; j < kTile && t0 + j < h.seg.rows; ++j) {
    memcpy(h.kv_row(h.a.dk, t0 + j), s.dk + j * D, D * sizeof(float));
    memcpy(h.kv_row(h.a.dv, t0 + j), s.dv + j * D, D * sizeof(float));
  }
}

void query_block(const Head& h, int64_t row, const Scratch& s) {
  const Queries b = block_at(h, row);
  gather_queries(h, b, s);
  for (int64_t t0 = 0; t0 < row + b.n / h.group; t0 += kTile) {
    gather_keys(h, t0, s);
    scores(h, b, t0, s);
    add_query_gradients(h, b, t0 == 0, s);
  }
}

}  // namespace

void attention_backward(const AttentionBackward& a, Context& ctx) {
  ThreadPool& pool = *ctx.pool;
  const int group = a.H / a.KV, queries = queries_per_block(group), per = tokens_per_block(group);
  const size_t bytes = scratch_floats(queries, a.D) * sizeof(float);
  const int64_t heads = (int64_t)a.segments.size() * a.KV;
  const auto scratch = [&](int thread) { return scratch_at((float*)pool.scratch(thread, bytes), queries, a.D); };
  const auto head = [&](int64_t i) { return Head{a, a.segments[i / a.KV], (int)(i % a.KV), group}; };

  if (pool.size() == 1 || heads >= 4 * pool.size()) {
    pool.parallel_for(heads, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t i = begin; i < end; ++i) {
        const Head h = head(i);
        for (int64_t t0 = 0; t0 < h.seg.rows; t0 += kTile) key_tile(h, t0, true, scratch(thread));
      }
    });
    return;
  }
  // Few heads: every key tile and every block of queries is a piece of its own, at the price of computing scores twice.
  for (int64_t i = 0; i < heads; ++i) {
    const Head h = head(i);
    const int64_t tiles = (h.seg.rows + kTile - 1) / kTile, blocks = (h.seg.rows + per - 1) / per;
    pool.parallel_for(tiles + blocks, 1, [&](int64_t begin, int64_t end, int thread) {
      for (int64_t n = begin; n < end; ++n)
        if (n < tiles)
          key_tile(h, n * kTile, false, scratch(thread));
        else
          query_block(h, (blocks - 1 - (n - tiles)) * per, scratch(thread));  // longest first
    });
  }
}

}  // namespace fulmen::kernels::FULMEN_ISA
