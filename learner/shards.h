#pragma once
// Shards: how a batch is cut so that any number of ranks gives the same gradient bits. Each shard is a run of whole
// sequences with a gradient chain of its own; the shards' gradients are added in their order, ((s0 + s1) + s2) + ....
// The cut depends on the batch and learner.shards alone; ranks take consecutive shards, and where they sit in memory
// does not enter the sum.

#include <cstddef>
#include <span>
#include <vector>

#include "learner/packer.h"

namespace fulmen::learner {

constexpr int64_t kShardRows = 1024;  // of a shard at least: below, adding gradients costs more than a rank saves

struct Range {  // [first, first + count)
  size_t first = 0, count = 0;
  bool operator==(const Range&) const = default;
};

// At most `most` shards of as even rows as whole sequences allow, none empty; one when the batch is small.
std::vector<Range> shard_sequences(std::span<const Sequence> sequences, int most);

// Rank's share of n consecutive things; shares differ by at most one and lie in rank order.
Range share_of(size_t n, int rank, int ranks);

}  // namespace fulmen::learner
