#pragma once
// Equality of two scalars in layers: the same tree, exact rationals, rational functions, balls at seeded points.

#include <string>

#include "reward/math/ball.h"
#include "reward/math/expr.h"
#include "reward/math/profile.h"
#include "reward/math/work.h"

namespace fulmen::reward::math {

enum class Same : uint8_t { kNo, kUndecided, kYes };

class Scalars {
 public:
  Scalars(const Tree& tree, const Profile& profile, Work& work) : t_(tree), profile_(profile), work_(work) {}

  Same equal(NodeId a, NodeId b);

  // -1, 0 or 1 for two real numbers; false when it cannot be told.
  bool order(NodeId a, NodeId b, int& sign);

  // The layer that decided last, in words.
  const char* how() const { return how_; }

 private:
  Same decided(Same s, const char* how) {
    how_ = how;
    return s;
  }
  bool divides_by_zero(NodeId n);
  Same by_infinity(NodeId a, NodeId b);
  Same by_balls(NodeId a, NodeId b, uint64_t seed);
  Same at_point(NodeId a, NodeId b, uint64_t seed, int point, bool real_only, bool both_real, bool& used);
  bool rounds_to(NodeId a, NodeId b);

  const Tree& t_;
  const Profile& profile_;
  Work& work_;
  const char* how_ = "";
};

bool contains(const Tree& t, NodeId n, Op op);
bool has_names(const Tree& t, NodeId n);

}  // namespace fulmen::reward::math
