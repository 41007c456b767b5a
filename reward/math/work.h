#pragma once
// The budget of one comparison: a counter of work, not a clock, so that the same input always ends the same way. A unit
// is about 100 ns of arithmetic.

#include <cstdint>

namespace fulmen::reward::math {

class Work {
 public:
  explicit Work(int64_t limit = kLimit) : left_(limit) {}
  bool spend(int64_t units) {
    left_ -= units;
    return left_ > 0;
  }
  bool exhausted() const { return left_ <= 0; }

  static constexpr int64_t kLimit = 60000;

 private:
  int64_t left_;
};

}  // namespace fulmen::reward::math
