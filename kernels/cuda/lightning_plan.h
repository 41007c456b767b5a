#pragma once
// Which rows of a lightning attention call take which kernel. Host arithmetic: tests/kernels checks it.
//
// Prefill and decode rows take different kernels in one call (M1's second inference optimisation): a decode row reads
// the state once and writes only its own K and V; the states of sequences whose block has just filled are moved on by a
// launch of its own. The two run on streams of their own. Pieces of a few rows take row tiles of 16 and long ones of 64
// (M1's third): what is padded differs, the order of the arithmetic does not.

#include <span>
#include <vector>

#include "kernels/lightning.h"

namespace fulmen::kernels::cuda {

constexpr int32_t kFewRows = 16;

struct LightningPlan {
  std::vector<Segment> pieces, few, decode, filled;  // `filled`: those of decode that begin a block
  size_t segments() const { return pieces.size() + few.size() + decode.size(); }
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

// A long sequence of few heads would keep few multiprocessors busy: it is walked in groups of blocks at once, from
// states that a walk of K and V alone has left before. Each part is rows [first, first + rows) of a segment; `state`
// names the state it begins with, -1: none, it begins the sequence.
constexpr int32_t kGroupRows = 8 * kLightningBlock;

struct LightningPart {
  Segment segment;
  int32_t first, rows, state;
};

struct LightningSplit {
  std::vector<LightningPart> parts;
  std::vector<LightningPart> walks;  // one a long sequence; `state`: of its second group, the next follow
  int32_t states = 0;
};

// For whole sequences. blocks_each: thread blocks of a sequence in one part; states_most: that memory allows.
inline LightningSplit split_lightning(std::span<const Segment> segments, int64_t blocks_each, int64_t states_most) {
  constexpr int64_t kEnoughBlocks = 264;  // two a multiprocessor
  LightningSplit split;
  int64_t states = 0;
  for (const Segment& s : segments) states += (s.rows - 1) / kGroupRows;
  const bool apart = static_cast<int64_t>(segments.size()) * blocks_each < kEnoughBlocks && states <= states_most;
  for (const Segment& s : segments) {
    if (!apart || s.rows < 2 * kGroupRows) {
      split.parts.push_back({s, 0, s.rows, -1});
      continue;
    }
    split.walks.push_back({s, 0, s.rows, split.states});
    for (int32_t first = 0; first < s.rows; first += kGroupRows)
      split.parts.push_back(
          {s, first, s.rows - first < kGroupRows ? s.rows - first : kGroupRows, first == 0 ? -1 : split.states++});
  }
  return split;
}

}  // namespace fulmen::kernels::cuda
