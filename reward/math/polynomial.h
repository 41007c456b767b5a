#pragma once
// Rational functions over Q in all names that occur and pi, expanded (FLINT): the proof that two expressions are the
// same function.

#include <vector>

#include "reward/math/expr.h"
#include "reward/math/work.h"

namespace fulmen::reward::math {

enum class Proof { kEqual, kDifferent, kNotRational, kTooLarge };

// Expands at most kMaxTerms terms on the way. Unknown functions f(...) count as names by their spelling.
Proof prove_equal(const Tree& tree, Work& work, NodeId a, NodeId b);

// gcd or lcm of polynomials as a new tree: over the integers when all coefficients are integers, else monic. kNone when
// an argument is no small polynomial.
NodeId polynomial_gcd(Tree& tree, bool lcm, const std::vector<NodeId>& arguments);

inline constexpr long kMaxTerms = 400;

}  // namespace fulmen::reward::math
