// What stands for several values, written out.
#include <algorithm>

#include "reward/math/compare.h"

namespace fulmen::reward::math {

// A copy with every +- read as + (upper) or -.
NodeId Comparison::with_sign(NodeId n, bool upper) {
  if (t_.full() || !contains(t_, n, Op::kPlusMinus)) return n;
  if (t_.op(n) == Op::kPlusMinus) {
    NodeId inner = with_sign(t_.kid(n, 0), upper);
    bool plus = (t_[n].detail == 0) == upper;
    return plus ? inner : t_.add(Op::kNeg, {inner});
  }
  std::vector<NodeId> kids = t_.kids(n);
  for (NodeId& k : kids) k = with_sign(k, upper);
  Node copy = t_[n];
  return t_.add(copy.op, kids, copy.detail, copy.payload);
}

// The members of a list or set, or the node itself, with +- written out and "x =" taken off.
std::vector<NodeId> Comparison::elements(NodeId n) {
  std::vector<NodeId> out;
  bool collection = t_.op(n) == Op::kList || t_.op(n) == Op::kSet;
  if (t_.op(n) == Op::kNamedSet && t_[n].detail == '0') return out;
  std::vector<NodeId> kids = collection ? t_.kids(n) : std::vector<NodeId>{n};
  for (NodeId k : kids) {
    if (contains(t_, k, Op::kPlusMinus) && !t_.full()) {
      out.push_back(with_sign(k, true));
      out.push_back(with_sign(k, false));
    } else {
      out.push_back(k);
    }
  }
  return out;
}

// A matrix, also one with a factor: \frac{1}{7}(1 2; 3 4). kNone for anything else.
NodeId Comparison::matrix_of(NodeId n) {
  if (t_.op(n) == Op::kMatrix) return n;
  bool negative = t_.op(n) == Op::kNeg && t_.op(t_.kid(n, 0)) == Op::kMatrix;
  bool quotient = t_.op(n) == Op::kDiv && t_.op(t_.kid(n, 0)) == Op::kMatrix;
  if (!negative && !quotient && t_.op(n) != Op::kMul) return kNone;
  NodeId matrix = kNone;
  std::vector<NodeId> factors;
  for (NodeId k : t_.kids(n)) {
    if (t_.op(k) == Op::kMatrix && matrix == kNone) {
      matrix = k;
    } else {
      factors.push_back(k);
    }
  }
  if (matrix == kNone || t_.full()) return kNone;
  std::vector<NodeId> cells = t_.kids(matrix);
  uint32_t columns = t_[matrix].payload;
  for (NodeId& c : cells) {
    if (negative) {
      c = t_.add(Op::kNeg, {c});
    } else if (quotient) {
      c = t_.add(Op::kDiv, {c, factors[0]});
    } else {
      std::vector<NodeId> product = factors;
      product.push_back(c);
      c = t_.add(Op::kMul, product);
    }
    if (t_.full()) return kNone;
  }
  return t_.add(Op::kMatrix, cells, 0, columns);
}

}  // namespace fulmen::reward::math
