// Inequalities in one name that are linear, or an absolute value of what is linear, solved for the name.
#include <algorithm>

#include "reward/math/compare.h"
#include "reward/math/exact.h"

namespace fulmen::reward::math {
namespace {

bool is_order(Rel r) { return r == Rel::kLt || r == Rel::kLe || r == Rel::kGt || r == Rel::kGe; }

Rel flipped(Rel r) {
  return r == Rel::kLt ? Rel::kGt : r == Rel::kLe ? Rel::kGe : r == Rel::kGt ? Rel::kLt : r == Rel::kGe ? Rel::kLe : r;
}

// The only name in a tree; kNone when there is none or a second one.
NodeId only_name(const Tree& t, NodeId n) {
  NodeId found = kNone;
  bool one = true;
  auto look = [&](auto&& self, NodeId k) -> void {
    if (t.op(k) == Op::kSymbol) {
      one = one && (found == kNone || same_tree(t, found, k));
      found = k;
    }
    for (uint32_t i = 0; i < t.count(k) && one; i++) self(self, t.kid(k, i));
  };
  look(look, n);
  return one ? found : kNone;
}

bool is_absolute(const Tree& t, NodeId n) { return t.op(n) == Op::kFunction && t.fn(n) == Fn::kAbs; }

}  // namespace

NodeId Comparison::solved(NodeId relation) {
  if (t_.op(relation) != Op::kRelation || t_.full()) return relation;
  const std::vector<Rel> signs = t_.signs_of(relation);
  const NodeId name = only_name(t_, relation);
  if (name == kNone || signs.size() > 2 || !std::all_of(signs.begin(), signs.end(), is_order)) return relation;
  // The member with the name, and the bounds beside it: left R x, x S right.
  std::vector<NodeId> chain = t_.kids(relation);
  size_t middle = chain.size();
  for (size_t i = 0; i < chain.size(); i++) {
    if (!is_scalar(t_.op(chain[i])) || contains(t_, chain[i], Op::kPlusMinus)) return relation;
    if (!has_names(t_, chain[i])) continue;
    if (middle != chain.size()) return relation;
    middle = i;
  }
  const bool absolute = is_absolute(t_, chain[middle]);
  const NodeId inside = absolute ? t_.kid(chain[middle], 0) : chain[middle];
  if ((!absolute && t_.op(inside) == Op::kSymbol) || (chain.size() == 3 && (middle != 1 || absolute))) return relation;
  // inside = slope * name + offset, proved.
  Exact exact(t_, work_);
  const uint32_t symbol = t_[name].payload;
  const auto at_zero = exact.value(inside, {{symbol, 0}}), at_one = exact.value(inside, {{symbol, 1}});
  if (!at_zero || !at_one || *at_zero == *at_one) return relation;
  const mpq_class slope = *at_one - *at_zero;
  const NodeId line = t_.add(Op::kAdd, {t_.add(Op::kMul, {t_.number(slope), name}), t_.number(*at_zero)});
  if (scalars_.equal(inside, line) != Same::kYes) return relation;
  const NodeId minus_offset = t_.number(-*at_zero), divisor = t_.number(slope);
  auto bound = [&](NodeId value) { return t_.add(Op::kDiv, {t_.add(Op::kAdd, {value, minus_offset}), divisor}); };
  auto sign = [&](Rel r) { return slope > 0 ? r : flipped(r); };
  if (!absolute) {
    std::vector<Rel> turned;
    for (size_t i = 0; i < chain.size(); i++) {
      if (i != middle) chain[i] = bound(chain[i]);
      if (i < signs.size()) turned.push_back(sign(signs[i]));
    }
    chain[middle] = name;
    return t_.add(Op::kRelation, chain, 0, t_.signs(std::move(turned)));
  }
  const Rel r = middle == 0 ? signs[0] : flipped(signs[0]);  // |inside| r limit
  const NodeId limit = chain[1 - middle];
  int positive = 0;
  if (!scalars_.order(limit, t_.integer(0), positive) || positive <= 0) return relation;
  NodeId low = bound(t_.add(Op::kNeg, {limit})), high = bound(limit);
  if (slope < 0) std::swap(low, high);
  if (r == Rel::kLt || r == Rel::kLe) return t_.add(Op::kRelation, {low, name, high}, 0, t_.signs({r, r}));
  const NodeId below = t_.add(Op::kRelation, {name, low}, 0, t_.signs({flipped(r)}));
  const NodeId above = t_.add(Op::kRelation, {name, high}, 0, t_.signs({r}));
  return t_.add(Op::kList, {below, above}, static_cast<uint8_t>(Joint::kOr));
}

}  // namespace fulmen::reward::math
