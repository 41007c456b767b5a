#include <cmath>

#include "kernels/cpu/attention_split.h"
#include "kernels/cpu/entries.h"

namespace fulmen::kernels::FULMEN_ISA {
namespace {

constexpr int kBlockQueries = 192;  // queries per block: q and sums stay in L2 beside a tile of K and V

// A block of queries of one (segment, kv head).
struct Item {
  int32_t segment, kv_head;
  int32_t row, rows;  // within the segment
  int32_t splits;     // that its last row reaches
};

int rows_per_block(int group) { return group < kBlockQueries ? kBlockQueries / group : 1; }

int64_t blocks_of(const Segment& s, int per_block) { return (s.rows + per_block - 1) / per_block; }

// What one call works through, in scratch of the calling thread.
struct Plan {
  Item* items;
  int64_t count;
  int max_queries;  // of an item
  int max_splits;
};

Plan plan_items(const AttentionForward& a, Item* items, int per_block) {
  const int group = a.H / a.KV;
  Plan p{items, 0, 0, 0};
  for (size_t s = 0; s < a.segments.size(); ++s) {
    const Segment& seg = a.segments[s];
    for (int kv = 0; kv < a.KV; ++kv)
      for (int64_t b = blocks_of(seg, per_block) - 1; b >= 0; --b) {  // the last block is the longest: start with it
        const int row = (int)(b * per_block), rows = seg.rows - row < per_block ? seg.rows - row : per_block;
        const int splits = (seg.pos0 + row + rows - 1) / kAttentionSplit + 1;
        items[p.count++] = {(int32_t)s, kv, row, rows, splits};
        if (rows * group > p.max_queries) p.max_queries = rows * group;
        if (splits > p.max_splits) p.max_splits = splits;
      }
  }
  return p;
}

// Tiles of K and V of one (segment, kv head): pages of the cache, or gathered from the batch into scratch.
template <class T>
struct KeyTiles {
  const AttentionForward& a;
  const Segment& seg;
  int kv_head;
  T* gathered;  // 2 * 64 * D, only without a cache

  const T* page(const void* pages, int64_t t0) const {
    const int64_t id = a.cache->page_table[seg.slot * a.cache->max_pages + t0 / kTile];
    return (const T*)pages + (id * a.KV + kv_head) * kTile * a.D;
  }
  KeyTile<T> get(int64_t t0, bool last) const {
    if (a.cache)
      return {t0, page(a.cache->k, t0), page(a.cache->v, t0), last ? nullptr : page(a.cache->k, t0 + kTile),
              last ? nullptr : page(a.cache->v, t0 + kTile)};
    const int64_t n = seg.rows - t0 < kTile ? seg.rows - t0 : kTile;
    const ptrdiff_t x = (ptrdiff_t)kv_head * a.D;
    T* rows = gathered + (ptrdiff_t)kTile * a.D;
    write_panels(a.k.row(seg.row0 + t0) + x, a.k.ld, 0, (int)n, a.D, gathered);
    write_rows(a.v.row(seg.row0 + t0) + x, a.v.ld, 0, (int)n, a.D, rows);
    return {t0, gathered, rows, nullptr, nullptr};
  }
};

template <class T>
void attend_split(const QueryBlock& b, const KeyTiles<T>& tiles, int split, SplitSums sums) {
  clear_sums(sums, b.n, b.D);
  const int64_t first = (int64_t)split * kTilesPerSplit, last = (b.pos0 + (b.n - 1) / b.group) / kTile;
  for (int64_t t = first; t < first + kTilesPerSplit && t <= last; ++t)
    attend_tile(b, tiles.get(t * kTile, t == last), sums);
}

QueryBlock scaled_queries(const AttentionForward& a, const Item& it, float* scaled) {
  float* q = scaled;
  const Segment& seg = a.segments[it.segment];
  const int group = a.H / a.KV;
  const int64_t width = (int64_t)group * a.D;
  const Vec scale = set1((float)(1.0 / std::sqrt((double)a.D)));
  for (int64_t r = 0; r < it.rows; ++r) {
    const float* from = a.q.row(seg.row0 + it.row + r) + it.kv_head * width;
    for (int head = 0; head < group; ++head, q += kQueryStride, from += a.D)
      for (int x = 0; x < a.D; x += kLanes) store(q + x, mul(load(from + x), scale));
  }
  return {scaled, it.rows * group, group, a.D, (int64_t)seg.pos0 + it.row};
}

template <class T>
void write_output(const AttentionForward& a, const Item& it, SplitSums sums) {
  const int group = a.H / a.KV;
  for (int u = 0; u < it.rows * group; ++u) {
    const int64_t row = a.segments[it.segment].row0 + it.row + u / group;
    const int head = it.kv_head * group + u % group;
    float* o = a.o.row(row) + (ptrdiff_t)head * a.D;
    const Vec inv = set1(1.0f / sums.l[u]);
    for (int x = 0; x < a.D; x += kLanes) store(o + x, mul(reordered<T>(load(sums.acc + (ptrdiff_t)u * a.D + x)), inv));
    if (a.lse) a.lse.row(row)[head] = (float)(sums.m[u] + std::log((double)sums.l[u]));
  }
}

size_t item_floats(const AttentionForward& a, int queries) {
  return (size_t)queries * kQueryStride + 2 * split_sums_floats(queries, a.D) + (a.cache ? 0 : 2 * (size_t)kTile * a.D);
}

// All splits of an item, one after another.
template <class T>
void run_item(const AttentionForward& a, const Item& it, float* scratch) {
  const QueryBlock b = scaled_queries(a, it, scratch);
  float* at = scratch + (size_t)b.n * kQueryStride;
  const SplitSums total = split_sums_at(at, b.n, a.D);
  const SplitSums next = split_sums_at(at + split_sums_floats(b.n, a.D), b.n, a.D);
  const KeyTiles<T> tiles{a, a.segments[it.segment], it.kv_head, (T*)(at + 2 * split_sums_floats(b.n, a.D))};
  for (int s = 0; s < it.splits; ++s) {
    attend_split(b, tiles, s, s ? next : total);
    if (s) merge_sums(total, next, first_query_at(b, (int64_t)s * kAttentionSplit), b.n, a.D);
  }
  write_output<T>(a, it, total);
}

// One split of an item into its own sums; combine_item merges them in order.
template <class T>
void run_split(const AttentionForward& a, const Item& it, int split, float* sums, float* scratch) {
  const QueryBlock b = scaled_queries(a, it, scratch);
  const KeyTiles<T> tiles{a, a.segments[it.segment], it.kv_head, (T*)(scratch + (size_t)b.n * kQueryStride)};
  attend_split(b, tiles, split, split_sums_at(sums, b.n, a.D));
}

template <class T>
void combine_item(const AttentionForward& a, const Item& it, float* sums, size_t stride) {
  const int group = a.H / a.KV, n = it.rows * group;
  const QueryBlock b{nullptr, n, group, a.D, (int64_t)a.segments[it.segment].pos0 + it.row};
  const SplitSums total = split_sums_at(sums, n, a.D);
  for (int s = 1; s < it.splits; ++s)
    merge_sums(total, split_sums_at(sums + s * stride, n, a.D), first_query_at(b, (int64_t)s * kAttentionSplit), n,
               a.D);
  write_output<T>(a, it, total);
}

template <class T>
void append_segment(const AttentionForward& a, const Segment& seg, int kv_head) {
  const int64_t tile = (int64_t)kTile * a.D;
  for (int64_t done = 0; done < seg.rows;) {
    const int64_t pos = seg.pos0 + done;
    const int64_t n = seg.rows - done < kTile - pos % kTile ? seg.rows - done : kTile - pos % kTile;
    const int64_t at =
        (a.cache->page_table[seg.slot * a.cache->max_pages + pos / kTile] * (int64_t)a.KV + kv_head) * tile;
    const ptrdiff_t x = (ptrdiff_t)kv_head * a.D;
    write_panels(a.k.row(seg.row0 + done) + x, a.k.ld, (int)(pos % kTile), (int)n, a.D, (T*)a.cache->k + at);
    write_rows(a.v.row(seg.row0 + done) + x, a.v.ld, (int)(pos % kTile), (int)n, a.D, (T*)a.cache->v + at);
    done += n;
  }
}

constexpr int kItemsPerThread = 16;  // so many balance by themselves
constexpr size_t kMaxSplitSumsBytes = size_t(64) << 20;

template <class T>
void forward(const AttentionForward& a, Context& ctx) {
  ThreadPool& pool = *ctx.pool;
  if (a.cache)
    pool.parallel_for((int64_t)a.segments.size() * a.KV, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) append_segment<T>(a, a.segments[i / a.KV], (int)(i % a.KV));
    });

  // Shared lists live at the front of the caller's scratch, its own work behind them.
  const int per_block = rows_per_block(a.H / a.KV);
  int64_t most_items = 0;
  for (const Segment& s : a.segments) most_items += blocks_of(s, per_block) * a.KV;
  const size_t items_bytes = ((size_t)most_items * sizeof(Item) + 63) / 64 * 64;
  Plan plan = plan_items(a, (Item*)pool.scratch(0, items_bytes), per_block);
  const size_t work_bytes = item_floats(a, plan.max_queries) * sizeof(float);
  const size_t sums_floats = (split_sums_floats(plan.max_queries, a.D) + 15) / 16 * 16;
  const size_t sums_bytes = (size_t)plan.count * plan.max_splits * sums_floats * sizeof(float);

  // Few queries over a long context: hand out the splits as well, else threads wait long for the last one.
  const bool by_split = plan.count < kItemsPerThread * pool.size() && pool.size() > 1 && plan.max_splits > 1 &&
                        sums_bytes <= kMaxSplitSumsBytes;
  char* shared = (char*)pool.scratch(0, items_bytes + (by_split ? sums_bytes : 0) + work_bytes);
  plan = plan_items(a, (Item*)shared, per_block);
  float* sums = (float*)(shared + items_bytes);
  char* own = shared + items_bytes + (by_split ? sums_bytes : 0);
  const auto scratch_of = [&](int thread) { return (float*)(thread ? pool.scratch(thread, work_bytes) : own); };

  if (!by_split) {
    pool.parallel_for(plan.count, 1, [&](int64_t begin, int64_t end, int thread) {
      float* scratch = scratch_of(thread);
      for (int64_t i = begin; i < end; ++i) run_item<T>(a, plan.items[i], scratch);
    });
    return;
  }
  pool.parallel_for(plan.count * plan.max_splits, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = scratch_of(thread);
    for (int64_t i = begin; i < end; ++i) {
      const Item& it = plan.items[i / plan.max_splits];
      const int split = (int)(i % plan.max_splits);
      if (split < it.splits) run_split<T>(a, it, split, sums + i * sums_floats, scratch);
    }
  });
  pool.parallel_for(plan.count, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      combine_item<T>(a, plan.items[i], sums + i * plan.max_splits * sums_floats, sums_floats);
  });
}

}  // namespace

void attention_forward(const AttentionForward& a, Context& ctx) {
  if (a.cache && a.cache->kv == DType::kBf16)
    forward<uint16_t>(a, ctx);
  else
    forward<float>(a, ctx);
}

}  // namespace fulmen::kernels::FULMEN_ISA
