#pragma once
// Physical limits of this machine, measured in this process so that every share in a table refers to the same minutes.

#include <functional>

namespace fulmen::bench {

struct Limits {
  int threads = 1;
  double fma_gflops = 0;      // fp32 multiply-adds in registers, widest vectors of the processor
  double read_gbs = 0;        // DRAM, reading only
  double read_write_gbs = 0;  // DRAM, scaling in place; bytes read plus bytes written
  double others = 0;          // see Quiet
};

// Measured on first use for this number of threads (about one second), then kept.
const Limits& limits(int threads);

// Measured right before and right after `work`, the better of both: for cases of many seconds, because the clock of a
// shared machine changes from minute to minute.
Limits limits_around(int threads, const std::function<void()>& work);

}  // namespace fulmen::bench
