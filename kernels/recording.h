#pragma once
// Work that is queued as one: on a GPU the kernels of a decode step become a CUDA graph, which costs the host one
// launch instead of hundreds. The bits are those of the same calls without it. Where the device has no graphs it does
// nothing.
//
// Between construction and launch() nothing may wait for the device (copy_out, Fetch::wait, synchronize). Graphs are
// kept by key and brought up to date by what is recorded next under the same key; calls of one key should be of like
// shape, since a graph of other kernels is built anew. Destruction without launch() drops what was recorded.

#include <cstdint>

#include "kernels/context.h"

namespace fulmen::kernels {

class Recording {
 public:
  Recording(uint64_t key, Context& ctx);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  void launch();

 private:
  Context& ctx_;
  uint64_t key_;
  bool open_ = false;
};

// The key of a step of `rows` decode rows: steps of one bucket share a graph. Powers of two up to 64, then multiples of
// 64: at most half of a bucket is missing in any step.
int64_t decode_bucket(int64_t rows);

}  // namespace fulmen::kernels
