#include "learner/packer.h"

#include "kernels/error.h"

namespace fulmen::learner {
namespace {

void append(MicroBatch& b, const Sequence& s) {
  const int64_t row0 = static_cast<int64_t>(b.tokens.size());
  const int64_t rows = static_cast<int64_t>(s.prompt.size() + s.target.size()) - 1;
  b.tokens.insert(b.tokens.end(), s.prompt.begin(), s.prompt.end());
  b.tokens.insert(b.tokens.end(), s.target.begin(), s.target.end() - 1);
  b.segments.push_back({.row0 = row0, .rows = static_cast<int32_t>(rows), .pos0 = 0, .slot = -1});
  const int64_t first_target_row = row0 + static_cast<int64_t>(s.prompt.size()) - 1;
  for (size_t i = 0; i < s.target.size(); ++i) {
    b.rows.push_back(static_cast<int32_t>(first_target_row) + static_cast<int32_t>(i));
    b.targets.push_back(s.target[i]);
  }
  ++b.count;
}

}  // namespace

std::vector<MicroBatch> pack(std::span<const Sequence> sequences, int64_t token_budget) {
  std::vector<MicroBatch> batches;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Sequence& s = sequences[i];
    FULMEN_CHECK(!s.prompt.empty() && !s.target.empty(),
                 "pack: sequence " + std::to_string(i) + " has " + std::to_string(s.prompt.size()) + " prompt and " +
                     std::to_string(s.target.size()) + " target tokens, want >= 1 of each");
    const int64_t rows = static_cast<int64_t>(s.prompt.size() + s.target.size()) - 1;
    if (batches.empty() || static_cast<int64_t>(batches.back().tokens.size()) + rows > token_budget) {
      batches.emplace_back();
      batches.back().first = i;
    }
    append(batches.back(), s);
  }
  return batches;
}

}  // namespace fulmen::learner
