#pragma once
// Which rows of a lightning attention call take which kernel. Host arithmetic: tests/kernels checks it.
//
// Prefill and decode rows take different kernels in one call (M1's second inference optimisation): a decode row reads
// the state once and writes only its own K and V; the states of sequences whose block has just filled are moved on by a
// launch of its own. Pieces of a few rows take row tiles of 16 and long ones of 64 (M1's third): what is padded
// differs, the order of the arithmetic does not.

#include <span>
#include <vector>

#include "kernels/lightning.h"

namespace fulmen::kernels::cuda {

constexpr int32_t kFewRows = 16;

struct LightningPlan {
  std::vector<Segment> pieces, few, decode, filled;  // `filled`: those of decode that begin a block
};

inline LightningPlan plan_lightning(std::span<const Segment> segments, bool with_cache) {
  LightningPlan plan;
  for (const Segment& s : segments) {
    const bool single = with_cache && s.rows == 1;
    (single ? plan.decode : s.rows <= kFewRows ? plan.few : plan.pieces).push_back(s);
    if (single && s.pos0 > 0 && s.pos0 % kLightningBlock == 0) plan.filled.push_back(s);
  }
  return plan;
}

}  // namespace fulmen::kernels::cuda
