#pragma once
// For tests of collectives: ranks in processes of their own, a directory where they meet, values whose sums show the
// order.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "shared/collective/collective.h"

namespace fulmen::collective {

class Directory {  // a fresh one, gone at the end
 public:
  Directory() : path_(std::filesystem::path(testing::TempDir()) / ("collective." + std::to_string(getpid()))) {
    std::filesystem::remove_all(path_);
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  operator std::string() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline GroupOptions options(const std::string& dir, int rank, int size) {
  GroupOptions o;
  o.rank = rank;
  o.size = size;
  o.directory = dir;
  o.epoch = "e0";
  o.timeout_ms = 20000;
  return o;
}

// Each rank in a process of its own; `body` says whether the rank saw what it should. A rank that gives no verdict is
// -1.
inline std::vector<int> run_ranks(int size, const std::function<bool(int rank)>& body) {
  std::vector<pid_t> pids;
  for (int r = 0; r < size; r++) {
    pid_t pid = fork();
    if (pid == 0) {
      bool ok = false;
      try {
        ok = body(r);
      } catch (const std::exception& e) {
        fprintf(stderr, "rank %d: %s\n", r, e.what());
      }
      _exit(ok ? 0 : 1);
    }
    pids.push_back(pid);
  }
  std::vector<int> codes;
  for (pid_t pid : pids) {
    int status = 0;
    waitpid(pid, &status, 0);
    codes.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
  }
  return codes;
}

// A device for NCCL: the CPU's kernels and memory, and a stream as nccl_double.cc has it.
struct Device {
  kernels::ThreadPool pool{1};
  kernels::KernelTable table = *kernels::cpu_context(pool).table;
  std::atomic<int> under_way{0};
  kernels::Context ctx{&table, &pool, &under_way};
  Device() {
    table.stream = [](kernels::Context& c) { return c.device; };
    table.idle = [](kernels::Context& c) { return static_cast<std::atomic<int>*>(c.device)->load() == 0; };
  }
};

inline std::vector<float> values(int rank, size_t n) {  // magnitudes so apart that every other order gives other bits
  std::mt19937 g(static_cast<uint32_t>(rank) + 77);
  std::vector<float> v(n);
  for (float& x : v) x = (static_cast<float>(g() % 2001) - 1000) * std::exp2(static_cast<float>(g() % 40) - 20);
  return v;
}

}  // namespace fulmen::collective
