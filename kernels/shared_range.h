#pragma once
// How threads share the pieces [0, n) of one call. Each begins with its own contiguous part, so that from kernel to
// kernel a row mostly stays in the cache of the thread that wrote it, and then helps the others.
//
// Internal linkage throughout: this is compiled into code for several instruction sets (kernels/cpu/simd.h).

#include <cstdint>

namespace fulmen::kernels {
namespace {

class SharedRange {
 public:
  SharedRange(int64_t n, int threads) : parts_(threads < kMaxParts ? threads : kMaxParts) {
    for (int p = 0; p < parts_; ++p) part_[p].next = n * p / parts_, part_[p].end = n * (p + 1) / parts_;
  }

  // The next piece for this thread, or -1 when none is left.
  __attribute__((always_inline)) int64_t take(int thread_idx) {
    for (int i = 0; i < parts_; ++i) {
      Part& part = part_[(thread_idx + i) % parts_];
      if (__atomic_load_n(&part.next, __ATOMIC_RELAXED) >= part.end) continue;
      const int64_t piece = __atomic_fetch_add(&part.next, 1, __ATOMIC_RELAXED);
      if (piece < part.end) return piece;
    }
    return -1;
  }

 private:
  static constexpr int kMaxParts = 16;
  struct alignas(64) Part {  // a cache line each
    int64_t next, end;
  };
  Part part_[kMaxParts];
  int parts_;
};

}  // namespace
}  // namespace fulmen::kernels
