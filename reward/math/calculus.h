#pragma once
// Derivatives, and limits that can be had with certainty: of what ground truths leave to be worked out.

#include "reward/math/expr.h"
#include "reward/math/scalar_equal.h"
#include "reward/math/work.h"

namespace fulmen::reward::math {

// The derivative by the interned name `variable`, all other names held constant. kNone for what is not differentiable
// everywhere or not known: |x|, floors, unknown functions.
NodeId derivative(Tree& tree, NodeId n, uint32_t variable);

// A copy of `n` in which derivatives are carried out and limits replaced by their values, as far as both are certain:
// a limit where the function is continuous, a quotient 0/0 by de l'Hospital's rule, a rational function at infinity.
// What is not certain stays, and is left undecided by a comparison.
NodeId worked_out(Tree& tree, Scalars& scalars, Work& work, NodeId n);

}  // namespace fulmen::reward::math
