#pragma once
// How a batch of queries is cut into blocks for the attention kernels. Host arithmetic: tests/kernels checks it.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention.h"

namespace fulmen::kernels::cuda {

constexpr int kBlockQueries = 16;  // queries (rows x heads of a group) of a thread block; more if a group is larger

// Rows [row, row + rows) of a segment; every kv head does them.
struct AttentionItem {
  int32_t segment, row, rows, splits;  // splits: that its last row reaches
};

struct AttentionPlan {
  std::vector<AttentionItem> items;  // longest first within a segment
  int max_queries = 0, max_splits = 0;
};

inline int rows_per_block(int group) { return group < kBlockQueries ? kBlockQueries / group : 1; }

// For two launches: with a cache its single rows, and all else.
struct ApartPlans {
  AttentionPlan decode, rest;
};

inline ApartPlans plan_apart(std::span<const Segment> segments, int group, bool with_cache) {
  ApartPlans plans;
  const int per = rows_per_block(group);
  for (size_t s = 0; s < segments.size(); ++s) {
    AttentionPlan& plan = with_cache && segments[s].rows == 1 ? plans.decode : plans.rest;
    for (int32_t row = (segments[s].rows - 1) / per * per; row >= 0; row -= per) {
      const int32_t rows = segments[s].rows - row < per ? segments[s].rows - row : per;
      const int32_t splits = (segments[s].pos0 + row + rows - 1) / kAttentionSplit + 1;
      plan.items.push_back({static_cast<int32_t>(s), row, rows, splits});
      if (rows * group > plan.max_queries) plan.max_queries = rows * group;
      if (splits > plan.max_splits) plan.max_splits = splits;
    }
  }
  return plans;
}

inline AttentionPlan plan_attention(std::span<const Segment> segments, int group) {
  return plan_apart(segments, group, false).rest;
}

// Are the splits of an item given to blocks of their own, to be merged later? Few queries over a long context.
inline bool splits_apart(const AttentionPlan& plan, int KV, int D) {
  constexpr int64_t kEnoughBlocks = 512, kMostBytes = int64_t{256} << 20;
  const int64_t blocks = static_cast<int64_t>(plan.items.size()) * KV;
  return plan.max_splits > 1 && blocks < kEnoughBlocks &&
         blocks * plan.max_splits * plan.max_queries * (D + 2) * 4 <= kMostBytes;
}

// For the tensor cores: queries [first, first + count) of a segment, numbered row * group + head of the group. Few rows
// (decode) share their keys' way to shared memory among the warps of a block, many have 16 queries a warp.
constexpr int kFewQueries = 16, kManyQueries = 64;

struct QueryItem {
  int32_t segment, first, count, splits;  // splits: that the last query reaches
};

struct QueryPlan {
  std::vector<QueryItem> few, many;  // longest first within a segment
  int few_splits = 0;                // most of an item of `few`
};

inline QueryPlan plan_queries(std::span<const Segment> segments, int group, bool apart = true) {
  QueryPlan plan;
  for (size_t s = 0; s < segments.size(); ++s) {
    const int64_t queries = static_cast<int64_t>(segments[s].rows) * group;
    const bool few = apart && queries <= kFewQueries;
    const int64_t per = few ? kFewQueries : kManyQueries;
    for (int64_t f = (queries - 1) / per * per; f >= 0; f -= per) {
      const int64_t count = queries - f < per ? queries - f : per;
      const int64_t last = segments[s].pos0 + (f + count - 1) / group;
      const auto splits = static_cast<int32_t>(last / kAttentionSplit + 1);
      (few ? plan.few : plan.many)
          .push_back({static_cast<int32_t>(s), static_cast<int32_t>(f), static_cast<int32_t>(count), splits});
      if (few && splits > plan.few_splits) plan.few_splits = splits;
    }
  }
  return plan;
}

// Tiles of 64 keys of each sequence, for the key side of the backward.
struct KeyTileItem {
  int32_t segment, first;
};

inline std::vector<KeyTileItem> plan_key_tiles(std::span<const Segment> segments) {
  std::vector<KeyTileItem> items;
  for (size_t s = 0; s < segments.size(); ++s)
    for (int32_t t = 0; t < segments[s].rows; t += kAttentionTile) items.push_back({static_cast<int32_t>(s), t});
  return items;
}

}  // namespace fulmen::kernels::cuda
