// Sampling on the device, one thread block a row. Statistics, the choice of the token and its log-probability have the
// order of kernels/cpu/sampler.cc. Where top_k and top_p cut is found by radix selection over all logits; masses are
// summed as integers (units of 2^-40 of the largest), so no order shows and no sort is needed.

#include <cmath>
#include <vector>

#include "kernels/cuda/entries.h"
#include "kernels/cuda/vocabulary_row.cuh"

namespace fulmen::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 16;
constexpr int kBins = 2048;
constexpr float kDropped = -3e38f;             // x of a token that truncation removed: finite, and its exp is 0
constexpr double kMassUnit = 1099511627776.0;  // 2^40

struct RowSettings {
  float inv_temperature, top_p, log_min_p;  // log_min_p: x - max below this is dropped
  int32_t top_k;                            // 0: all
  int32_t greedy, truncates;
  double u;
};

struct Sampler {
  float* logits;
  int64_t ld, V;
  const RowSettings* settings;
  VocabStats* chunks;  // (B, vocab_chunks(V))
  int32_t* token;
  float* logprob;
};

// Grid: rows x chunks, 64 threads. After truncation the logits are x already: then the factor is 1.
__global__ void stats_kernel(Sampler a, bool truncated) {
  const RowSettings s = a.settings[blockIdx.x];
  if (truncated && s.truncates == 0) return;
  const int64_t c = blockIdx.y;
  const VocabStats stats =
      chunk_stats(a.logits + blockIdx.x * a.ld + c * kVocabChunk, chunk_width(a.V, c),
                  truncated ? 1.0f : s.inv_temperature, shared_memory<float>(), static_cast<int>(threadIdx.x));
  if (threadIdx.x == 0) a.chunks[blockIdx.x * vocab_chunks(a.V) + c] = stats;
}

__device__ VocabStats row_stats(const Sampler& a, int64_t row) {
  const VocabStats* chunk = a.chunks + row * vocab_chunks(a.V);
  VocabStats s = chunk[0];
  for (int64_t c = 1; c < vocab_chunks(a.V); ++c) s = merge_stats(s, chunk[c]);
  return s;
}

// Larger x, larger key; -0 and 0 are one key.
__device__ uint32_t order_key(float x) {
  const uint32_t u = float_to_bits(x + 0.0f);
  return (u & 0x80000000u) != 0 ? ~u : u | 0x80000000u;
}

// The shortest prefix of the total order (larger x first, ties to the lower id) whose weight reaches a goal: ids with a
// key above `key`, and the first `ties` of those that have it.
struct Cut {
  uint32_t key = 0;
  int64_t last_id = INT64_MAX;
  __device__ bool holds(uint32_t k, int64_t id) const { return k > key || (k == key && id <= last_id); }
};

struct Selection {
  const float* x;  // scaled logits
  int64_t V;
  float max;
  Cut within;  // only ids that this holds are weighed
  bool by_mass;
  __device__ unsigned long long weight(int64_t v) const {
    const uint32_t k = order_key(x[v]);
    if (!within.holds(k, v)) return 0;
    return by_mass ? static_cast<unsigned long long>(static_cast<double>(exp32(x[v] - max)) * kMassUnit) : 1ull;
  }
};

struct SelectShared {
  unsigned long long bins[kBins];
  unsigned long long partial[kThreads];
  unsigned long long above, total;
  uint32_t fixed;
  int64_t last_id;
};

__device__ unsigned long long total_weight(const Selection& s, SelectShared& m) {
  unsigned long long mine = 0;
  for (int64_t v = threadIdx.x; v < s.V; v += kThreads) mine += s.weight(v);
  __syncthreads();
  m.partial[threadIdx.x] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    m.total = 0;
    for (int i = 0; i < kThreads; ++i) m.total += m.partial[i];
  }
  __syncthreads();
  return m.total;
}

// Every thread of the block calls it and gets the same answer.
__device__ Cut shortest_prefix(const Selection& s, unsigned long long goal, SelectShared& m) {
  const int tid = static_cast<int>(threadIdx.x);
  uint32_t fixed = 0, mask = 0;
  __syncthreads();
  if (tid == 0) m.above = 0;
  for (int pass = 0; pass < 3; ++pass) {  // 11, 11 and 10 bits of the key
    const int shift = pass == 0 ? 21 : pass == 1 ? 10 : 0;
    const uint32_t low = shift == 0 ? 1023 : kBins - 1;
    for (int b = tid; b < kBins; b += kThreads) m.bins[b] = 0;
    __syncthreads();
    for (int64_t v = tid; v < s.V; v += kThreads) {
      const uint32_t k = order_key(s.x[v]);
      if ((k & mask) == fixed) atomicAdd(&m.bins[k >> shift & low], s.weight(v));
    }
    __syncthreads();
    if (tid == 0) {
      uint32_t b = low;
      while (b > 0 && m.above + m.bins[b] < goal) m.above += m.bins[b--];
      m.fixed = fixed | b << shift;
    }
    __syncthreads();
    fixed = m.fixed;
    mask |= low << shift;
  }
  // Of the ids with that key, in id order: every thread counts a stretch, one walks the stretches.
  const int64_t stretch = (s.V + kThreads - 1) / kThreads, begin = tid * stretch;
  const int64_t end = begin + stretch < s.V ? begin + stretch : s.V;
  unsigned long long mine = 0;
  for (int64_t v = begin; v < end; ++v)
    if (order_key(s.x[v]) == fixed) mine += s.weight(v);
  m.partial[tid] = mine;
  __syncthreads();
  if (tid == 0) {
    unsigned long long above = m.above;
    int at = 0;
    while (at < kThreads - 1 && above + m.partial[at] < goal) above += m.partial[at++];
    m.last_id = INT64_MAX;
    for (int64_t v = at * stretch; v < (at + 1) * stretch && v < s.V; ++v) {
      if (order_key(s.x[v]) != fixed || s.weight(v) == 0) continue;
      above += s.weight(v);
      m.last_id = v;
      if (above >= goal) break;
    }
  }
  __syncthreads();
  return {fixed, m.last_id};
}

// Logits to x in place, kDropped where truncation removes the token. Grid: rows.
__global__ void truncate_kernel(Sampler a) {
  auto& m = *shared_memory<SelectShared>();
  const RowSettings s = a.settings[blockIdx.x];
  if (s.truncates == 0) return;
  float* x = a.logits + blockIdx.x * a.ld;
  const VocabStats row = row_stats(a, blockIdx.x);
  if (!(row.l > 0)) return;  // some logit is not finite: leave it for pick_kernel to see
  const float max = row.m;
  for (int64_t v = threadIdx.x; v < a.V; v += kThreads) x[v] = x[v] * s.inv_temperature;
  __syncthreads();
  Selection selection{x, a.V, max, Cut{}, false};
  if (s.top_k > 0) selection.within = shortest_prefix(selection, static_cast<unsigned long long>(s.top_k), m);
  if (s.top_p < 1) {
    selection.by_mass = true;
    const auto total = static_cast<double>(total_weight(selection, m));
    const auto goal = static_cast<unsigned long long>(static_cast<double>(s.top_p) * total);
    selection.within = shortest_prefix(selection, goal > 0 ? goal : 1, m);
  }
  __syncthreads();
  for (int64_t v = threadIdx.x; v < a.V; v += kThreads)
    if (x[v] - max < s.log_min_p || !selection.within.holds(order_key(x[v]), v)) x[v] = kDropped;
}

// First id whose logit is the maximum: ids are taken kThreads at a time.
__device__ int64_t first_maximum(const float* logits, int64_t V, float max, int32_t* found) {
  for (int64_t first = 0; first < V; first += kThreads) {
    __syncthreads();
    if (threadIdx.x == 0) *found = kThreads;
    __syncthreads();
    const int64_t v = first + threadIdx.x;
    const bool mine = v < V && logits[v] == max;
    const unsigned votes = __ballot_sync(0xffffffffu, mine);
    if (mine && (votes & ((1u << (threadIdx.x % 32)) - 1)) == 0)  // the first of its warp
      atomicMin(found, static_cast<int32_t>(threadIdx.x));
    __syncthreads();
    if (*found < kThreads) return first + *found;
  }
  return V - 1;
}

struct PickShared {
  double vec_sum[kVocabChunk / kLanes];
  int32_t found;
  int32_t chunk, vec;
  double limit, before;
  int64_t token;
};

// Of `n` sums, the first where the running sum exceeds `limit`; if rounding prevents that, the last with any mass.
// `before`: the running sum in front of it.
template <class Sum>
__device__ int first_beyond(int n, Sum sum, double running, double limit, double* before) {
  int last = 0;
  *before = running;
  for (int i = 0; i < n; ++i) {
    const double s = sum(i);
    if (!(s > 0)) continue;
    last = i;
    *before = running;
    running += s;
    if (running > limit) break;
  }
  return last;
}

// Token at quantile u, in id order: by chunks, then by groups of 16, then by ids, in fp64.
__device__ int64_t pick(const float* logits, int64_t V, float inv_temperature, const VocabStats* chunk, float max,
                        double u, PickShared& m) {
  if (threadIdx.x == 0) {
    const auto mass = [&](int c) {
      return static_cast<double>(chunk[c].l) * static_cast<double>(exp32(chunk[c].m - max));
    };
    const int chunks = static_cast<int>(vocab_chunks(V));
    double total = 0, before = 0;
    for (int c = 0; c < chunks; ++c) total += mass(c);
    const double goal = u * total;
    m.chunk = first_beyond(chunks, mass, 0.0, goal, &before);
    m.limit = (goal - before) / static_cast<double>(exp32(chunk[m.chunk].m - max));
  }
  __syncthreads();
  const float top = chunk[m.chunk].m;
  const int64_t first = m.chunk * kVocabChunk, n = chunk_width(V, m.chunk);
  const int groups = static_cast<int>((n + kLanes - 1) / kLanes);
  const auto mass_at = [&](int64_t i) { return i < n ? exp32(logits[first + i] * inv_temperature - top) : 0.0f; };
  for (int g = static_cast<int>(threadIdx.x); g < groups; g += kThreads) {
    float t[kLanes];
    FULMEN_UNROLL
    for (int i = 0; i < kLanes; ++i) t[i] = mass_at(static_cast<int64_t>(g) * kLanes + i);
    FULMEN_UNROLL
    for (int s = kLanes / 2; s > 0; s >>= 1)
      for (int i = 0; i < s; ++i) t[i] = t[i] + t[i + s];
    m.vec_sum[g] = static_cast<double>(t[0]);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    double before = 0, ignored = 0;
    const int g = first_beyond(
        groups, [&](int i) { return m.vec_sum[i]; }, 0.0, m.limit, &before);
    const int64_t at = static_cast<int64_t>(g) * kLanes;
    const int lanes = static_cast<int>(n - at < kLanes ? n - at : kLanes);
    const int lane = first_beyond(
        lanes, [&](int i) { return static_cast<double>(mass_at(at + i)); }, before, m.limit, &ignored);
    m.token = first + at + lane;
  }
  __syncthreads();
  return m.token;
}

__global__ void pick_kernel(Sampler a) {
  auto& m = *shared_memory<PickShared>();
  const RowSettings s = a.settings[blockIdx.x];
  const float *logits = a.logits + blockIdx.x * a.ld, inv = s.truncates != 0 ? 1.0f : s.inv_temperature;
  const VocabStats row = row_stats(a, blockIdx.x);
  int64_t token = -1;
  float logprob = 0;
  if (row.l > 0) {  // otherwise not a number: some logit is not finite
    token = s.greedy != 0 ? first_maximum(logits, a.V, row.m, &m.found)
                          : pick(logits, a.V, inv, a.chunks + blockIdx.x * vocab_chunks(a.V), row.m, s.u, m);
    logprob = log_probability(logits[token] * inv, row);
  }
  if (threadIdx.x == 0) a.token[blockIdx.x] = static_cast<int32_t>(token), a.logprob[blockIdx.x] = logprob;
}

RowSettings row_settings(const SamplingSettings& s, int64_t V, double u) {
  RowSettings r{};
  r.greedy = s.temperature > 0 ? 0 : 1;
  r.inv_temperature = s.temperature > 0 ? inverse_temperature(s.temperature) : 1.0f;
  r.top_p = s.top_p;
  r.top_k = s.top_k < V ? s.top_k : 0;
  r.log_min_p = s.min_p > 0 ? static_cast<float>(std::log(static_cast<double>(s.min_p))) : -INFINITY;
  r.truncates = r.greedy == 0 && (r.top_k > 0 || s.top_p < 1 || s.min_p > 0) ? 1 : 0;
  r.u = u;
  return r;
}

}  // namespace

void sample_rows(const SampleRows& a, Context& ctx) {
  State& state = state_of(ctx);
  State::Frame frame(state);
  const int64_t B = a.logits.dim[0], V = a.logits.dim[1];
  std::vector<RowSettings> settings;
  bool truncates = false;
  for (size_t b = 0; b < a.settings.size(); ++b) {
    settings.push_back(row_settings(a.settings[b], V, a.u[b]));
    truncates |= settings.back().truncates != 0;
  }
  Sampler s{a.logits.f32(),
            a.logits.ld,
            V,
            state.upload(std::span<const RowSettings>(settings)),
            frame.take<VocabStats>(B * vocab_chunks(V)),
            a.token.data(),
            a.logprob.data()};
  const auto rows = static_cast<unsigned>(B), chunks = static_cast<unsigned>(vocab_chunks(V));
  const size_t shared = kRowThreads * sizeof(float);
  launch(state, "sample_rows: statistics", stats_kernel, dim3(rows, chunks), kRowThreads, shared, s, false);
  if (truncates) {
    launch(state, "sample_rows: truncation", truncate_kernel, dim3(rows), kThreads, sizeof(SelectShared), s);
    launch(state, "sample_rows: statistics of what is kept", stats_kernel, dim3(rows, chunks), kRowThreads, shared, s,
           true);
  }
  launch(state, "sample_rows", pick_kernel, dim3(rows), kThreads, sizeof(PickShared), s);
}

}  // namespace fulmen::kernels::cuda
