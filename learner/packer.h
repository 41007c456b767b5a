#pragma once
// Sequences -> micro-batches of packed rows. Sequences keep their order and are never cut; a micro-batch holds as many
// as fit its token budget (a single longer sequence gets a micro-batch of its own). No padding.

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/types.h"

namespace fulmen::learner {

struct Sequence {                   // view of one sequence to score or to train on
  std::span<const int32_t> prompt;  // no loss on these
  std::span<const int32_t> target;  // completion: each of its tokens is predicted
};

struct MicroBatch {
  size_t first = 0, count = 0;             // sequences [first, first + count)
  std::vector<int32_t> tokens;             // (T) inputs: every sequence without its last token
  std::vector<kernels::Segment> segments;  // one a sequence
  std::vector<int32_t> rows;               // (M) rows that predict a target token, ascending
  std::vector<int32_t> targets;            // (M) the tokens they predict
};

std::vector<MicroBatch> pack(std::span<const Sequence> sequences, int64_t token_budget);

}  // namespace fulmen::learner
