#pragma once
// Checks that a list of segments describes a batch, for the kernels that work by sequence. Throws Error.

#include <span>
#include <string>
#include <vector>

#include "kernels/types.h"

namespace fulmen::kernels {

// Segments must be ascending, disjoint, not empty, and cover rows [0, T). Without a cache (`cached` false) each is a
// whole sequence at position 0; with one, each slot must lie in [0, slots) and occur once: two segments of one slot
// would race.
inline void check_segments(const char* op, std::span<const Segment> segments, int64_t T, bool cached, int64_t slots) {
  int64_t row = 0;
  std::vector<bool> seen;
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& s = segments[i];
    const auto fail = [&](const std::string& what) {
      throw Error(std::string(op) + ": segment " + std::to_string(i) + " " + what);
    };
    if (s.row0 != row) fail("starts at row " + std::to_string(s.row0) + ", want " + std::to_string(row));
    if (s.rows < 1) fail("has " + std::to_string(s.rows) + " rows, want at least 1");
    if (s.pos0 < 0 || s.pos0 > INT32_MAX - s.rows) fail("has position " + std::to_string(s.pos0));
    row += s.rows;
    if (!cached) {
      if (s.pos0 != 0) fail("starts at position " + std::to_string(s.pos0) + ", want 0: there is no cache");
      continue;
    }
    if (s.slot < 0 || s.slot >= slots)
      fail("has slot " + std::to_string(s.slot) + ", want 0.." + std::to_string(slots - 1));
    if ((size_t)s.slot >= seen.size()) seen.resize(s.slot + 1);
    if (seen[s.slot]) fail("names slot " + std::to_string(s.slot) + " a second time");
    seen[s.slot] = true;
  }
  if (row != T)
    throw Error(std::string(op) + ": segments cover " + std::to_string(row) + " rows, want " + std::to_string(T));
}

}  // namespace fulmen::kernels
