#pragma once
// Sets of real numbers that are written differently: intervals, finite sets, their unions, intersections and
// differences, inequalities in one name. Compared by membership at every end point and between any two.

#include "reward/math/expr.h"
#include "reward/math/scalar_equal.h"

namespace fulmen::reward::math {

// Something that says of a single name which numbers it may be: x < 3, 1 < x <= 2, x in [0,1], x != 2.
// `name` is the spelling of that name.
bool is_condition(const Tree& t, NodeId n, std::string& name);

// Whether the node can be read as a set of reals at all (end points are not looked at).
bool is_real_set(const Tree& t, NodeId n);

// kUndecided when end points cannot be ordered.
Same equal_real_sets(const Tree& t, Scalars& scalars, NodeId a, NodeId b);

}  // namespace fulmen::reward::math
