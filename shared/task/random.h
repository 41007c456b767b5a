#pragma once
// Random choices of the generators, from one counter-based stream. Order of draws is part of a problem's identity:
// never draw twice in one argument list, whose order of evaluation C++ leaves open.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "shared/base/rng.h"

namespace fulmen::task {

class Random {
 public:
  explicit Random(const base::Stream& stream) : stream_(stream) {}

  int between(int low, int high) { return static_cast<int>(stream_.next_int(low, high)); }  // inclusive
  int below(size_t n) { return between(0, static_cast<int>(n) - 1); }
  bool chance(int percent) { return between(0, 99) < percent; }

  template <class T>
  const T& pick(const std::vector<T>& from) {
    return from[static_cast<size_t>(below(from.size()))];
  }
  template <class T>
  void shuffle(std::vector<T>& v) {
    for (size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[static_cast<size_t>(below(i))]);
  }
  // n different members, in random order. n may not exceed the size.
  template <class T>
  std::vector<T> sample(std::vector<T> from, size_t n) {
    shuffle(from);
    from.resize(n);
    return from;
  }
  base::Stream& stream() { return stream_; }

 private:
  base::Stream stream_;
};

// Linear in difficulty from `at_one` (difficulty 1) to `at_ten`, rounded to the nearest.
inline int scaled(int difficulty, int at_one, int at_ten) {
  const int range = (at_ten - at_one) * (difficulty - 1);
  return at_one + (range >= 0 ? range + 4 : range - 4) / 9;
}

}  // namespace fulmen::task
