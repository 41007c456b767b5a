#pragma once
// What the processes of a slot do, read from the slot's own /proc: needed to see idleness, and, without control groups,
// for CPU time and memory.

#include <cstdint>

namespace fulmen::sandboxes {

struct ProcessScan {
  uint64_t cpu_us = 0;       // of all living processes but the jailer, and of the children they have waited for
  uint64_t resident_kb = 0;  // shared pages count in every process
  bool wants_cpu = false;    // one is running, ready to run, or waiting for a disk
  int processes = 0;         // the jailer left out
};

// proc: a directory descriptor.
ProcessScan scan_processes(int proc);

}  // namespace fulmen::sandboxes
