#include "kernels/cpu/entries.h"
#include "kernels/cpu/vocabulary_row.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

// x of a token that truncation removed: finite, so that the shared arithmetic needs no special case, and exp gives 0.
constexpr float kDropped = -3e38f;
constexpr int64_t kBins = 2048;
constexpr int64_t kBlock = 64;

// Larger x, larger key. Adding +0 makes -0 and 0 one key, as they are one value.
FULMEN_INLINE uint32_t order_key(float x) {
  const float normal = x + 0.0f;
  uint32_t u;
  memcpy(&u, &normal, 4);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
FULMEN_INLINE float from_key(uint32_t key) {
  const uint32_t u = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float x;
  memcpy(&x, &u, 4);
  return x;
}

// A beginning of the total order (larger x first, ties to the lower id): x above the cut, or equal to it up to last_id.
struct Cut {
  float x = -INFINITY;
  int64_t last_id = INT64_MAX;
  bool holds(float other, int64_t id) const { return other > x || (other == x && id <= last_id); }
};

// The few ids that truncation has to look at, ascending; mass is exp(x - max).
struct Candidates {
  float *x, *mass;
  int32_t* id;
  int64_t n;
};

struct Row {
  float* x;
  int64_t V;
  VocabStats stats;  // before truncation
};

// Scratch of one row.
struct Workspace {
  double* bins;           // kBins
  VocabStats* chunk;      // vocab_chunks(V)
  float* block_max;       // blocks(V)
  Candidates candidates;  // room for V

  static int64_t blocks(int64_t V) { return (V + kBlock - 1) / kBlock; }
  static size_t bytes(int64_t V) {
    return kBins * sizeof(double) + (size_t)vocab_chunks(V) * sizeof(VocabStats) + (size_t)(blocks(V) + 3 * V) * 4;
  }
  Workspace(void* memory, int64_t V) {
    bins = (double*)memory;
    chunk = (VocabStats*)(bins + kBins);
    block_max = (float*)(chunk + vocab_chunks(V));
    candidates.x = block_max + blocks(V);
    candidates.mass = candidates.x + V;
    candidates.id = (int32_t*)(candidates.mass + V);
  }
};

// The shortest prefix of the order whose mass (kMass) or number reaches `goal`; all if none does. Radix selection over
// the key, 11 + 11 + 10 bits: no sort. Sums in fp64.
template <bool kMass>
Cut shortest_prefix(const Candidates& c, double goal, double* bins) {
  uint32_t fixed = 0, mask = 0;
  double above = 0;  // weight of the keys above those still in question
  for (const int shift : {21, 10, 0}) {
    const uint32_t low = shift == 0 ? 1023 : kBins - 1;
    for (uint32_t b = 0; b <= low; ++b) bins[b] = 0;
    for (int64_t i = 0; i < c.n; ++i) {
      const uint32_t key = order_key(c.x[i]);
      if ((key & mask) == fixed) bins[key >> shift & low] += kMass ? (double)c.mass[i] : 1.0;
    }
    uint32_t b = low;
    while (b > 0 && above + bins[b] < goal) above += bins[b--];
    fixed |= b << shift;
    mask |= low << shift;
  }
  Cut cut{from_key(fixed), -1};
  for (int64_t i = 0; i < c.n && (cut.last_id < 0 || above < goal); ++i) {
    if (order_key(c.x[i]) != fixed) continue;
    above += kMass ? (double)c.mass[i] : 1.0;
    cut.last_id = c.id[i];
  }
  return cut.last_id < 0 ? Cut{} : cut;
}

void find_block_maxima(const Row& row, float* block_max) {
  for (int64_t b = 0; b < Workspace::blocks(row.V); ++b)
    block_max[b] = chunk_max(row.x + b * kBlock, smaller(kBlock, row.V - b * kBlock), set1(1.0f));
}

// At least k elements reach this: the k-th largest of the block maxima.
float top_k_bound(const Row& row, int64_t k, Workspace& w) {
  Candidates c = w.candidates;
  c.n = Workspace::blocks(row.V);
  if (c.n <= k) return -INFINITY;
  memcpy(c.x, w.block_max, (size_t)c.n * sizeof(float));
  for (int64_t b = 0; b < c.n; ++b) c.id[b] = (int32_t)b;
  return shortest_prefix<false>(c, (double)k, w.bins).x;
}

// All elements below this together have less than half of the mass that top_p may remove.
float top_p_bound(const Row& row, float top_p) {
  const double share = 0.5 * (1.0 - (double)top_p) * (double)row.stats.l / (double)row.V;
  return (float)((double)row.stats.m + std::log(share) - 1e-3);
}

// Elements x >= bound, in id order. Most blocks hold none.
void collect(const Row& row, float bound, const float* block_max, Candidates& c) {
  c.n = 0;
  for (int64_t b = 0; b < Workspace::blocks(row.V); ++b) {
    if (block_max[b] < bound) continue;
    for (int64_t v = b * kBlock; v < smaller(row.V, (b + 1) * kBlock); ++v) {
      c.x[c.n] = row.x[v];
      c.id[c.n] = (int32_t)v;
      c.n += row.x[v] >= bound;
    }
  }
}

void keep_only(const Cut& cut, Candidates& c) {
  int64_t n = 0;
  for (int64_t i = 0; i < c.n; ++i) {
    const bool keep = cut.holds(c.x[i], c.id[i]);
    c.x[n] = c.x[i];
    c.id[n] = c.id[i];
    n += keep;
  }
  c.n = n;
}

void find_masses(float max, const Candidates& c) {
  each_vec(c.n, [&](int64_t i, int n)
                    FULMEN_INLINE_LAMBDA { store_some(c.mass + i, vexp(sub(load_some(c.x + i, n), set1(max))), n); });
}

bool cuts_top_k(const SamplingSettings& s, int64_t V) { return s.top_k > 0 && s.top_k < V; }
bool truncates(const SamplingSettings& s, int64_t V) { return cuts_top_k(s, V) || s.top_p < 1 || s.min_p > 0; }

// Where top_k and then top_p cut the order.
Cut find_cut(const SamplingSettings& s, const Row& row, Workspace& w) {
  Candidates& c = w.candidates;
  Cut cut;
  double total = row.stats.l;
  find_block_maxima(row, w.block_max);
  if (cuts_top_k(s, row.V)) {
    collect(row, top_k_bound(row, s.top_k, w), w.block_max, c);
    cut = shortest_prefix<false>(c, s.top_k, w.bins);
    if (s.top_p == 1) return cut;
    keep_only(cut, c);
    find_masses(row.stats.m, c);
    total = 0;
    for (int64_t i = 0; i < c.n; ++i) total += (double)c.mass[i];
  } else {
    collect(row, top_p_bound(row, s.top_p), w.block_max, c);
    find_masses(row.stats.m, c);
  }
  const Cut by_mass = shortest_prefix<true>(c, s.top_p * total, w.bins);
  return by_mass.last_id == INT64_MAX ? cut : by_mass;
}

// Logits to x in place, kDropped where truncation removes the token.
void truncate(const SamplingSettings& s, float inv_temperature, const Row& row, Workspace& w) {
  each_vec(row.V, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
    store_some(row.x + i, mul(load_some(row.x + i, n), set1(inv_temperature)), n);
  });
  Cut cut;
  if (cuts_top_k(s, row.V) || s.top_p < 1) cut = find_cut(s, row, w);
  // min_p in the same terms: x - max >= log(min_p)
  const Vec least = set1(s.min_p > 0 ? (float)std::log((double)s.min_p) : -INFINITY);
  each_vec(row.V, [&](int64_t i, int n) FULMEN_INLINE_LAMBDA {
    const Vec x = load_some(row.x + i, n), dropped = set1(kDropped);
    const Vec kept = select_lt(sub(x, set1(row.stats.m)), least, dropped, x);
    store_some(row.x + i, select_lt(x, set1(cut.x), dropped, kept), n);
  });
  for (int64_t v = cut.last_id; v < row.V - 1; ++v)
    if (row.x[v + 1] == cut.x) row.x[v + 1] = kDropped;
}

VocabStats row_stats(const float* logits, int64_t V, float inv_temperature, VocabStats* chunk) {
  VocabStats row{};
  for (int64_t c = 0; c < vocab_chunks(V); ++c) {
    chunk[c] = chunk_stats<false>(logits + c * kVocabChunk, chunk_width(V, c), inv_temperature);
    row = c == 0 ? chunk[c] : merge(row, chunk[c]);
  }
  return row;
}

// First id whose logit is the maximum.
int64_t first_maximum(const float* logits, int64_t V, float max) {
  int64_t v = 0;
  while (v < V - 1 && !(logits[v] == max)) ++v;
  return v;
}

// First of the n lanes where the running sum exceeds `limit`; if rounding prevents that, the last lane with any mass.
int pick_lane(const float* e, int n, double running, double limit) {
  int last = 0;
  for (int j = 0; j < n; ++j) {
    if (!(e[j] > 0)) continue;
    last = j;
    running += e[j];
    if (running > limit) break;
  }
  return last;
}

// Within one chunk, by Vecs and then by lanes; masses are relative to the maximum m of the chunk.
int64_t pick_in_chunk(const float* logits, int64_t n, float inv_temperature, float m, double limit) {
  alignas(64) float e[kLanes] = {};
  double running = 0, before_last = 0;
  int64_t last = 0;  // the last Vec with any mass
  const auto masses = [&](int64_t i) {
    const int count = (int)smaller(kLanes, n - i);
    const Vec x = mul(load_some(logits + i, count), set1(inv_temperature));
    const Vec mass = mul(vexp(sub(x, set1(m))), first_lanes(count));
    store(e, mass);
    return (double)hsum(mass);
  };
  for (int64_t i = 0; i < n; i += kLanes) {
    const double sum = masses(i);
    if (!(sum > 0)) continue;
    last = i, before_last = running;
    running += sum;
    if (running > limit) break;
  }
  masses(last);
  return last + pick_lane(e, (int)smaller(kLanes, n - last), before_last, limit);
}

// Token at quantile u, in id order: by chunks, then inside the chunk.
int64_t pick(const float* logits, int64_t V, float inv_temperature, const VocabStats* chunk, float max, double u) {
  const auto mass = [&](int64_t c) { return (double)chunk[c].l * (double)exp1(chunk[c].m - max); };
  double total = 0;
  for (int64_t c = 0; c < vocab_chunks(V); ++c) total += mass(c);
  const double goal = u * total;
  double running = 0, before_last = 0;
  int64_t last = 0;
  for (int64_t c = 0; c < vocab_chunks(V); ++c) {
    const double sum = mass(c);
    if (!(sum > 0)) continue;
    last = c, before_last = running;
    running += sum;
    if (running > goal) break;
  }
  const double limit = (goal - before_last) / (double)exp1(chunk[last].m - max);
  const int64_t first = last * kVocabChunk;
  return first + pick_in_chunk(logits + first, chunk_width(V, last), inv_temperature, chunk[last].m, limit);
}

void sample_row(const SampleRows& a, int64_t b, void* memory) {
  const int64_t V = a.logits.dim[1];
  float* logits = a.logits.row(b);
  const SamplingSettings& s = a.settings[b];
  Workspace w(memory, V);
  float inv_t = s.temperature > 0 ? inverse_temperature(s.temperature) : 1.0f;
  VocabStats row = row_stats(logits, V, inv_t, w.chunk);
  if (!(row.l > 0)) {  // not a number: some logit is not finite
    a.token[b] = -1;
    a.logprob[b] = 0;
    return;
  }
  if (s.temperature > 0 && truncates(s, V)) {
    truncate(s, inv_t, {logits, V, row}, w);
    inv_t = 1;
    row = row_stats(logits, V, inv_t, w.chunk);
  }
  const int64_t token =
      s.temperature > 0 ? pick(logits, V, inv_t, w.chunk, row.m, a.u[b]) : first_maximum(logits, V, row.m);
  a.token[b] = (int32_t)token;
  a.logprob[b] = log_probability(logits[token] * inv_t, row);
}

}  // namespace

void sample_rows(const SampleRows& a, Context& ctx) {
  const size_t bytes = Workspace::bytes(a.logits.dim[1]);
  ctx.pool->parallel_for(a.logits.dim[0], 1, [&](int64_t begin, int64_t end, int thread_idx) {
    void* memory = ctx.pool->scratch(thread_idx, bytes);
    for (int64_t b = begin; b < end; ++b) sample_row(a, b, memory);
  });
}

}  // namespace fulmen::kernels::FULMEN_ISA
