#include "kernels/cpu/entries.h"
#include "kernels/cpu/vocabulary_row.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

// x of a token that truncation removed: finite, so that the shared arithmetic needs no special case, and exp gives 0.
constexpr float kDropped = -3e38f;
constexpr int64_t kBins = 2048;

// Larger x, larger key. Adding +0 makes -0 and 0 one key, as they are one value.
FULMEN_INLINE uint32_t order_key(float x) {
  const float normal = x + 0.0f;
  uint32_t u;
  memcpy(&u, &normal, 4);
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}

// A beginning of the total order (larger x first, ties to the lower id).
struct Prefix {
  uint32_t key = 0;
  int64_t last_id = INT64_MAX;
  bool holds(uint32_t k, int64_t v) const { return k > key || (k == key && v <= last_id); }
};

struct Row {
  float* x;  // logits; from truncation on, x
  int64_t V;
  float max;
};

FULMEN_INLINE void exp_block(const Row& row, int64_t i, int n, float* e) {
  store(e, vexp(sub(load_some(row.x + i, n), set1(row.max))));
}

// f(v, key, weight) for the elements of `within` whose key has the bits `fixed` under `mask`; weight is exp(x - max) if
// kMass, else 1. exp is computed only where an element matches.
template <bool kMass, class F>
FULMEN_INLINE void each_match(const Row& row, const Prefix& within, uint32_t fixed, uint32_t mask, F f) {
  alignas(64) float e[kLanes];
  for (int64_t i = 0; i < row.V; i += kLanes) {
    const int n = (int)smaller(kLanes, row.V - i);
    bool have = false;
    for (int j = 0; j < n; ++j) {
      const uint32_t key = order_key(row.x[i + j]);
      if ((key & mask) != fixed || !within.holds(key, i + j)) continue;
      if (kMass && !have) exp_block(row, i, n, e), have = true;
      f(i + j, key, kMass ? (double)e[j] : 1.0);
    }
  }
}

// The shortest prefix of the order, inside `within`, whose weight reaches `goal` (kMass: that share of the weight of
// `within`). Radix selection over the key, 11 + 11 + 10 bits: no sort, time V whatever the settings; sums in fp64.
template <bool kMass>
Prefix shortest_prefix(const Row& row, const Prefix& within, double goal, double* bins) {
  uint32_t fixed = 0, mask = 0;
  double above = 0;  // weight of the keys above those still in question
  for (const int shift : {21, 10, 0}) {
    const uint32_t low = shift == 0 ? 1023 : kBins - 1;
    for (uint32_t b = 0; b <= low; ++b) bins[b] = 0;
    each_match<kMass>(row, within, fixed, mask,
                      [&](int64_t, uint32_t key, double w) { bins[key >> shift & low] += w; });
    if (kMass && mask == 0) {
      double total = 0;
      for (uint32_t b = 0; b <= low; ++b) total += bins[b];
      goal *= total;
    }
    uint32_t b = low;
    while (b > 0 && above + bins[b] < goal) above += bins[b--];
    fixed |= b << shift;
    mask |= low << shift;
  }
  Prefix found{fixed, -1};
  each_match<kMass>(row, within, fixed, mask, [&](int64_t v, uint32_t, double w) {
    if (found.last_id >= 0 && above >= goal) return;
    above += w;
    found.last_id = v;
  });
  return found;
}

bool truncates(const SamplingSettings& s, int64_t V) {
  return (s.top_k > 0 && s.top_k < V) || s.top_p < 1 || s.min_p > 0;
}

// Logits to x in place, kDropped where truncation removes the token.
void truncate(const SamplingSettings& s, float inv_temperature, const Row& row, double* bins) {
  const Vec inv_t = set1(inv_temperature);
  each_vec(row.V, [&](int64_t i, int n)
                      FULMEN_INLINE_LAMBDA { store_some(row.x + i, mul(load_some(row.x + i, n), inv_t), n); });
  Prefix kept;
  if (s.top_k > 0 && s.top_k < row.V) kept = shortest_prefix<false>(row, kept, s.top_k, bins);
  if (s.top_p < 1) kept = shortest_prefix<true>(row, kept, s.top_p, bins);
  alignas(64) float e[kLanes];
  for (int64_t i = 0; i < row.V; i += kLanes) {
    const int n = (int)smaller(kLanes, row.V - i);
    exp_block(row, i, n, e);
    for (int j = 0; j < n; ++j)
      if (!kept.holds(order_key(row.x[i + j]), i + j) || e[j] < s.min_p) row.x[i + j] = kDropped;
  }
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

// memory: vocab_chunks(V) stats after kBins doubles.
void sample_row(const SampleRows& a, int64_t b, void* memory) {
  const int64_t V = a.logits.dim[1];
  float* logits = a.logits.row(b);
  const SamplingSettings& s = a.settings[b];
  auto* bins = (double*)memory;
  auto* chunk = (VocabStats*)(bins + kBins);
  float inv_t = s.temperature > 0 ? inverse_temperature(s.temperature) : 1.0f;
  VocabStats row = row_stats(logits, V, inv_t, chunk);
  if (!(row.l > 0)) {  // not a number: some logit is not finite
    a.token[b] = -1;
    a.logprob[b] = 0;
    return;
  }
  if (s.temperature > 0 && truncates(s, V)) {
    truncate(s, inv_t, {logits, V, row.m}, bins);
    inv_t = 1;
    row = row_stats(logits, V, inv_t, chunk);
  }
  const int64_t token =
      s.temperature > 0 ? pick(logits, V, inv_t, chunk, row.m, a.u[b]) : first_maximum(logits, V, row.m);
  a.token[b] = (int32_t)token;
  a.logprob[b] = log_probability(logits[token] * inv_t, row);
}

}  // namespace

void sample_rows(const SampleRows& a, Context& ctx) {
  const size_t bytes = kBins * sizeof(double) + (size_t)vocab_chunks(a.logits.dim[1]) * sizeof(VocabStats);
  ctx.pool->parallel_for(a.logits.dim[0], 1, [&](int64_t begin, int64_t end, int thread_idx) {
    void* memory = ctx.pool->scratch(thread_idx, bytes);
    for (int64_t b = begin; b < end; ++b) sample_row(a, b, memory);
  });
}

}  // namespace fulmen::kernels::FULMEN_ISA
