#include "learner/shards.h"

#include <algorithm>

namespace fulmen::learner {

std::vector<Range> shard_sequences(std::span<const Sequence> sequences, int most) {
  const auto rows_of = [](const Sequence& s) { return static_cast<int64_t>(s.prompt.size() + s.target.size()); };
  int64_t total = 0, before = 0;
  for (const Sequence& s : sequences) total += rows_of(s);
  const int64_t n = std::clamp<int64_t>(total / kShardRows, 1, most);
  std::vector<Range> shards;
  int64_t last = -1;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t middle = before + rows_of(sequences[i]) / 2;  // in [0, total)
    const int64_t at = std::min(n - 1, total > 0 ? middle * n / total : 0);
    before += rows_of(sequences[i]);
    if (at != last) shards.push_back({i, 0});
    ++shards.back().count;
    last = at;
  }
  return shards;
}

Range share_of(size_t n, int rank, int ranks) {
  const size_t begin = n * static_cast<size_t>(rank) / static_cast<size_t>(ranks);
  const size_t end = n * (static_cast<size_t>(rank) + 1) / static_cast<size_t>(ranks);
  return {begin, end - begin};
}

}  // namespace fulmen::learner
