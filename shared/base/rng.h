#pragma once
// Counter-based random numbers: Philox 4x32-10 (Salmon et al., SC'11). No hidden state: a value is a function of its
// key, so the completion of (prompt, sample) is the same whatever else runs, on any worker, after any restart.

#include <array>
#include <cstdint>

namespace fulmen::base {

enum class Purpose : uint32_t { kInit = 1, kSample = 2, kShuffle = 3, kTask = 4, kTest = 5 };

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform [0, 1) with 53 bits from (run seed, purpose, a, b, c), e.g. a = prompt id, b = sample index, c = position.
double uniform(uint64_t seed, Purpose purpose, uint64_t a, uint32_t b, uint64_t c);

// A stream for generators (tasks, shuffles, initial weights): same key, same sequence.
class Stream {
 public:
  Stream(uint64_t seed, Purpose purpose, uint64_t a = 0, uint32_t b = 0);
  uint32_t next_u32();
  double next_uniform();                        // [0, 1)
  int64_t next_int(int64_t low, int64_t high);  // inclusive, unbiased
  float next_normal();                          // Box-Muller in fp64

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_{};
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace fulmen::base
